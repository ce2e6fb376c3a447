/* POST's and the boot service's words on the screen, by INT 10h teletype. Every register is kept. */
#include "common.inc"

    .global print, print_char, print_newline, print_hex8, print_hex16, print_decimal
    .global banner_start, banner_disks

/* In: CS:SI = text, zero-terminated. */
print:
    push ax
    push si
1:  mov al, cs:[si]
    inc si
    test al, al
    jz 2f
    call print_char
    jmp 1b
2:  pop si
    pop ax
    ret

/* In: AL. */
print_char:
    push ax
    push bx
    mov ah, 0x0E
    mov bx, 0x0007
    int 0x10
    pop bx
    pop ax
    ret

print_newline:
    push si
    mov si, offset text_newline
    call print
    pop si
    ret

/* In: AX, or AL. */
print_hex16:
    xchg al, ah
    call print_hex8
    xchg al, ah
print_hex8:
    push ax
    shr al, 4
    call print_digit
    pop ax
    push ax
    and al, 0x0F
    call print_digit
    pop ax
    ret
print_digit:
    cmp al, 10
    jb 1f
    add al, 'A' - '0' - 10
1:  add al, '0'
    jmp print_char

/* In: EAX. */
print_decimal:
    push eax
    push ecx
    push edx
    push bx
    mov ecx, 10
    xor bx, bx
1:  xor edx, edx
    div ecx
    push dx
    inc bx
    test eax, eax
    jnz 1b
2:  pop ax
    add al, '0'
    call print_char
    dec bx
    jnz 2b
    pop bx
    pop edx
    pop ecx
    pop eax
    ret

/* "emu BIOS 0.1  256 MB memory", on a line that banner_disks ends. */
banner_start:
    pushad
    mov si, offset text_name
    call print
    mov eax, cs:[memory_high_size + 3]  // in 16 MiB
    shl eax, 4
    mov ecx, cs:[memory_low_top]
    shr ecx, 20
    add eax, ecx
    call print_decimal
    mov si, offset text_memory
    call print
    popad
    ret

/* ", disk 80h 10 MB", for each. In: FS = EBDA. */
banner_disks:
    pushad
    mov si, EBDA_DRIVES
    movzx cx, byte ptr ds:[BDA_DISK_COUNT]
    mov dl, 0x80
1:  jcxz 2f
    push si
    mov si, offset text_disk
    call print
    mov al, dl
    call print_hex8
    mov si, offset text_disk_size
    call print
    pop si
    mov eax, fs:[si + DRIVE_TOTAL]
    mov ebx, fs:[si + DRIVE_TOTAL + 4]
    shrd eax, ebx, 11                   // sectors to MiB
    call print_decimal
    push si
    mov si, offset text_megabytes
    call print
    pop si
    add si, DRIVE_SIZE
    inc dl
    dec cx
    jmp 1b
2:  cmp byte ptr ds:[BDA_DISK_COUNT], 0
    jne 3f
    mov si, offset text_no_disk
    call print
3:  call print_newline
    popad
    ret

text_name:      .asciz "emu BIOS " VERSION "  "
text_memory:    .asciz " MB memory"
text_disk:      .asciz ", disk "
text_disk_size: .asciz "h "
text_megabytes: .asciz " MB"
text_no_disk:   .asciz ", no disk"
text_newline:   .asciz "\r\n"
