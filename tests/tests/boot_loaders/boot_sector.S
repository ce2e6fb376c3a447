/* A boot sector that reads all of the drive that it came from, track by track, by INT 13h: every sector but the first
 * has to begin with its own number. Then it writes the last sector of a cylinder.
 * Port E9h: 'R', 'D' (wrong contents), 'W' (the write failed) or 'P' (it did not, although the drive is to be
 * protected), then AH; or "ok". Port F4h ends the run. */
    .intel_syntax noprefix
    .code16
    .global _start
_start:
    xor ax, ax
    mov ss, ax
    mov sp, 0x7C00
    mov es, ax
    mov ds, ax
    mov byte ptr ds:[drive], dl
    test dl, dl
    js 1f
    lds si, ds:[0x78]                      // a diskette parameter table of our own, with the right number of sectors
    mov di, 0x600
    mov cx, 11
    rep movsb
    mov ds, ax
    mov al, ds:[sectors]
    mov ds:[0x604], al
    mov word ptr ds:[0x78], 0x600
    mov word ptr ds:[0x7A], 0
1:  xor ah, ah
    mov dl, ds:[drive]
    int 0x13
    mov ax, 0x1000
    mov es, ax
    xor ebp, ebp                        // number of the sector
2:  mov si, 3
3:  mov ah, 2
    mov al, ds:[sectors]
    mov cx, ds:[cylinder]
    xchg cl, ch
    mov cl, 1
    mov dh, ds:[head]
    mov dl, ds:[drive]
    xor bx, bx
    int 0x13
    jnc 4f
    cmp ah, 6                           // the diskette was changed: try again
    mov al, 'R'
    jne failed
    dec si
    jnz 3b
    jmp failed
4:  movzx cx, byte ptr ds:[sectors]
    xor di, di
5:  test ebp, ebp
    jz 6f
    mov al, 'D'
    cmp es:[di], ebp
    jne failed
6:  inc ebp
    add di, 512
    loop 5b
    inc byte ptr ds:[head]
    mov al, ds:[head]
    cmp al, ds:[heads]
    jb 2b
    mov byte ptr ds:[head], 0
    inc word ptr ds:[cylinder]
    mov ax, ds:[cylinder]
    cmp ax, ds:[cylinders]
    jb 2b

    mov dword ptr es:[0], 0x5AA55AA5
    mov ax, 0x0301
    mov cx, ds:[target]
    xchg cl, ch
    mov cl, ds:[sectors]
    mov dh, ds:[heads]
    dec dh
    mov dl, ds:[drive]
    xor bx, bx
    int 0x13
    mov al, 'W'
    jnc 7f
    cmp byte ptr ds:[protected], 0
    je failed
    cmp ah, 3
    jne failed
    jmp 8f
7:  mov al, 'P'
    cmp byte ptr ds:[protected], 0
    jne failed
8:  mov al, 'o'
    out 0xE9, al
    mov al, 'k'
    out 0xE9, al
    mov al, 0x10
    out 0xF4, al
    hlt
failed:
    out 0xE9, al
    mov al, ah
    out 0xE9, al
    mov al, 0x11
    out 0xF4, al
    hlt

    .org 0x1E0
cylinders: .word 80
heads:     .byte 2
sectors:   .byte 18
protected: .byte 0
drive:     .byte 0
cylinder:  .word 0
head:      .byte 0
    .org 0x1EC
target:    .word 79                 // the cylinder to write to
    .org 0x1FE
    .word 0xAA55
