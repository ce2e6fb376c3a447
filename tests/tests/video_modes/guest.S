/* A boot sector that sets a video mode and shows something: text, or a row and a column of pixels. What it is to do
 * stands in its last bytes. Port F4h tells when it is done. */
    .intel_syntax noprefix
    .code16
    .global _start

#define ROW     5
#define COLUMN  3
#define PAGE    0x8000                  /* for what VBE tells of a mode */

_start:
    xor ax, ax
    mov ss, ax
    mov sp, 0x7C00
    mov ds, ax
    mov es, ax
    movzx bx, byte ptr ds:[kind]
    shl bx, 1
    jmp word ptr ds:[bx + kinds]
kinds: .word text, pixels, mode_x, linear

text:
    call set_mode
    mov si, offset words
1:  lodsb
    test al, al
    jz done
    mov ah, 0x0E
    mov bx, 7
    int 0x10
    jmp 1b
words: .asciz "Mode set"

set_mode:
    mov ax, ds:[mode]
    int 0x10
    ret

done:
    mov al, 0x10                        // isa-debug-exit
    out 0xF4, al
1:  jmp 1b

/* By the BIOS, pixel by pixel. */
pixels:
    call set_mode
    xor cx, cx
    mov dx, ROW
1:  call plot
    inc cx
    cmp cx, ds:[width]
    jb 1b
    mov cx, COLUMN
    xor dx, dx
2:  call plot
    inc dx
    cmp dx, ds:[height]
    jb 2b
    jmp done
plot:
    mov ah, 0x0C
    mov al, ds:[colour]
    xor bh, bh
    int 0x10
    ret

/* 320 by 240 pixels in four planes: mode 13h with chain 4 and doubleword addresses off, and the timing of 480 lines. Each
 * plane gets a colour of its own in the row. */
mode_x:
    call set_mode
    mov dx, 0x3C4
    mov ax, 0x0604
    out dx, ax
    mov ax, 0x0100
    out dx, ax
    mov dx, 0x3C2
    mov al, 0xE3
    out dx, al
    mov dx, 0x3C4
    mov ax, 0x0300
    out dx, ax
    mov dx, 0x3D4
    mov al, 0x11                        // registers 0 to 7 are protected
    out dx, al
    inc dx
    in al, dx
    and al, 0x7F
    out dx, al
    dec dx
    mov si, offset timing
    mov cx, (timing_end - timing) / 2
1:  lodsw
    out dx, ax
    loop 1b
    mov ax, 0xA000
    mov es, ax
    mov dx, 0x3C4
    mov ax, 0x0F02                      // mode 13h has cleared a quarter of the planes
    out dx, ax
    xor di, di
    xor ax, ax
    mov cx, 0x8000
    rep stosw
    mov ax, 0x0102                      // map mask: one plane after the other
2:  out dx, ax
    push ax
    mov al, ah
    mov di, ROW * 80
    mov cx, 80
    rep stosb
    pop ax
    shl ah, 1
    cmp ah, 0x10
    jb 2b
    mov ax, 0x0802                      // column 3 is in plane 3
    out dx, ax
    xor di, di
    mov cx, 240
3:  mov byte ptr es:[di], 8
    add di, 80
    loop 3b
    jmp done
timing:
    .word 0x0D06, 0x3E07, 0x4109, 0xEA10, 0xAC11, 0xDF12, 0x0014, 0xE715, 0x0616, 0xE317
timing_end:

/* A VBE mode, in its linear frame buffer. */
linear:
    in al, 0x92                         // A20
    or al, 2
    out 0x92, al
    mov ax, 0x4F01
    mov cx, ds:[mode]
    mov di, PAGE
    int 0x10
    cmp ax, 0x004F
    jne done
    mov ax, 0x4F02
    mov bx, ds:[mode]
    or bx, 0x4000
    int 0x10
    cmp ax, 0x004F
    jne done
    cli
    lgdt ds:[table]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov bx, 8
    mov fs, bx                          // keeps its limit of 4 GiB
    and al, 0xFE
    mov cr0, eax
    movzx ebp, word ptr ds:[PAGE + 0x10]        // bytes in a row
    movzx edx, byte ptr ds:[PAGE + 0x19]        // bits, then bytes, of a pixel
    add dx, 7
    shr dx, 3
    mov al, ds:[colour]
    imul edi, ebp, ROW
    add edi, ds:[PAGE + 0x28]
    mov cx, ds:[width]
1:  call dot
    add edi, edx
    loop 1b
    imul edi, edx, COLUMN
    add edi, ds:[PAGE + 0x28]
    mov cx, ds:[height]
2:  call dot
    add edi, ebp
    loop 2b
    jmp done
dot:
    mov bx, dx
3:  dec bx
    movzx esi, bx
    mov fs:[edi + esi], al
    jnz 4f
    ret
4:  jmp 3b

table:
    .word 15
    .long descriptors
descriptors:
    .quad 0
    .quad 0x00CF92000000FFFF

    .org 0x1F0
mode:    .word 3
width:   .word 0
height:  .word 0
colour:  .byte 15
kind:    .byte 0
    .org 0x1FE
    .word 0xAA55
