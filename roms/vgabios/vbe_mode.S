/* VBE's modes: the list of them, what AX=4F01h tells, and how they are set by the adapter's extension.
 *
 * Bochs, "VBE Display Interface": sixteen-bit registers, index at 1CEh, data at 1CFh.
 * Numbers 100h to 11Bh are VESA's; 32-bit modes have none, and are where Bochs's VGA BIOS has them (140h to 145h).
 */
#include "common.inc"
#include "vga.inc"
#include "vbe.inc"

    .global dispi_get, dispi_set, vbe_present, vbe_off, find_mode, vbe_modes, vbe_mode_numbers
    .global vbe_mode_info, vbe_set_mode, current_mode, bytes_of_pixel, base_address

/* In: AX = register. Out: AX = its value. */
dispi_get:
    push dx
    mov dx, DISPI_INDEX
    out dx, ax
    inc dx
    in ax, dx
    pop dx
    ret

/* In: AX = register, BX = value. */
dispi_set:
    push dx
    push ax
    mov dx, DISPI_INDEX
    out dx, ax
    inc dx
    mov ax, bx
    out dx, ax
    pop ax
    pop dx
    ret

/* Out: ZF when the adapter has the extension. Clobbers AX. */
vbe_present:
    xor ax, ax
    call dispi_get
    and ax, 0xFFF0
    cmp ax, 0xB0C0
    ret

/* Back to VGA. Clobbers AX, BX. */
vbe_off:
    call vbe_present
    jne 1f
    mov ax, DISPI_ENABLE
    xor bx, bx
    jmp dispi_set
1:  ret

/* Number, width, height, bits of a pixel. */
.macro VBE_MODE number, width, height, bits
    .word \number, \width, \height, \bits
.endm
.macro DEPTHS first, true, width, height
    VBE_MODE \first, \width, \height, 15
    VBE_MODE \first + 1, \width, \height, 16
    VBE_MODE \first + 2, \width, \height, 24
    VBE_MODE \true, \width, \height, 32
.endm
vbe_modes:
    VBE_MODE 0x100, 640, 400, 8
    VBE_MODE 0x101, 640, 480, 8
    VBE_MODE 0x103, 800, 600, 8
    VBE_MODE 0x105, 1024, 768, 8
    VBE_MODE 0x107, 1280, 1024, 8
    DEPTHS 0x10D, 0x140, 320, 200
    VBE_MODE 0x141, 640, 400, 32
    DEPTHS 0x110, 0x142, 640, 480
    DEPTHS 0x113, 0x143, 800, 600
    DEPTHS 0x116, 0x144, 1024, 768
    DEPTHS 0x119, 0x145, 1280, 1024
vbe_modes_end:

/* The numbers alone, as AX=4F00h points to them. */
vbe_mode_numbers:
    .word 0x100, 0x101, 0x103, 0x105, 0x107, 0x10D, 0x10E, 0x10F, 0x110, 0x111, 0x112, 0x113, 0x114, 0x115
    .word 0x116, 0x117, 0x118, 0x119, 0x11A, 0x11B, 0x140, 0x141, 0x142, 0x143, 0x144, 0x145, 0xFFFF

/* In: CX = number. Out: CS:SI = the mode; CF when there is none. */
find_mode:
    mov si, offset vbe_modes
1:  cmp cx, cs:[si]
    je 2f
    add si, VBE_MODE_SIZE
    cmp si, offset vbe_modes_end
    jb 1b
    stc
2:  ret

/* Out: CX = bytes that a pixel of CS:SI takes. */
bytes_of_pixel:
    mov cx, cs:[si + VBE_BITS]
    add cx, 7
    shr cx, 3
    ret

/* In: CS:SI = mode, ES:DI = 256 bytes. */
vbe_mode_info:
    push di
    mov cx, 128
    xor ax, ax
    rep stosw
    pop di
    mov word ptr es:[di + 0x00], 0x009B // there, graphics in colour, with a linear frame buffer, no text by INT 10h
    mov byte ptr es:[di + 0x02], 7      // window A: there, read, written
    mov word ptr es:[di + 0x04], 64     // KiB
    mov word ptr es:[di + 0x06], 64
    mov word ptr es:[di + 0x08], 0xA000
    mov word ptr es:[di + 0x0C], offset vbe_window_call
    mov es:[di + 0x0E], cs
    call bytes_of_pixel
    mov ax, cs:[si + VBE_WIDTH]
    mov es:[di + 0x12], ax
    mul cx
    mov es:[di + 0x10], ax              // bytes of a line
    mov cx, cs:[si + VBE_HEIGHT]
    mov es:[di + 0x14], cx
    mul cx
    shl edx, 16
    mov dx, ax
    mov ebx, edx                        // bytes of a picture
    mov ax, DISPI_MEMORY
    call dispi_get
    movzx eax, ax
    shl eax, 16
    xor edx, edx
    div ebx
    dec ax
    cmp ax, 0xFF
    jbe 1f
    mov al, 0xFF
1:  mov es:[di + 0x1D], al              // pictures that fit, less one
    mov word ptr es:[di + 0x16], 0x1008 // characters of 8 by 16
    mov byte ptr es:[di + 0x18], 1      // planes
    mov byte ptr es:[di + 0x1A], 1      // banks
    mov byte ptr es:[di + 0x1E], 1
    mov ax, cs:[si + VBE_BITS]
    mov es:[di + 0x19], al
    mov byte ptr es:[di + 0x1B], 4      // packed pixels
    cmp al, 8
    je 3f
    mov byte ptr es:[di + 0x1B], 6      // direct colour
    mov bx, offset fields_15
    cmp al, 15
    je 2f
    mov bx, offset fields_16
    cmp al, 16
    je 2f
    mov bx, offset fields_24
    cmp al, 24
    je 2f
    mov bx, offset fields_32
2:  push si
    push di
    mov si, bx
    add di, 0x1F
    mov cx, 9
    rep movs byte ptr es:[di], byte ptr cs:[si]
    pop di
    pop si
3:  mov bl, 0x10                        // frame buffer
    call base_address
    mov es:[di + 0x28], eax
    ret

/* Size and lowest bit of red, green, blue and the rest; whether the guest may use the rest. */
fields_15: .byte 5, 10, 5, 5, 5, 0, 1, 15, 2
fields_16: .byte 5, 11, 6, 5, 5, 0, 0, 0, 0
fields_24: .byte 8, 16, 8, 8, 8, 0, 0, 0, 0
fields_32: .byte 8, 16, 8, 8, 8, 0, 8, 24, 2

/* In: BL = base address register of the adapter. Out: EAX = the physical address in it, or 0 when the adapter is not
 * found. The configuration address register comes back as it was. Clobbers EBX, ECX, EDX. */
base_address:
    mov dx, PCI_ADDRESS
    in eax, dx
    push eax
    mov ecx, 0x80000000
1:  mov eax, ecx
    call config_read
    cmp eax, 0x11111234
    je 2f
    add ecx, 0x800                      // the next device of bus 0
    test ecx, 0x10000
    jz 1b
    xor eax, eax
    jmp 3f
2:  movzx eax, bl
    add eax, ecx
    call config_read
    and al, 0xF0
3:  mov ebx, eax
    pop eax
    out dx, eax
    mov eax, ebx
    ret

/* In: EAX = address, DX = its port. Out: EAX. */
config_read:
    out dx, eax
    add dx, 4
    in eax, dx
    sub dx, 4
    ret

/* In: CS:SI = mode, the caller's BX bit 14 = linear, bit 15 = memory stays. */
vbe_set_mode:
    push si
    call vbe_off
    mov di, offset params_13            // 256 colours, bytes one after the other at A0000h
    call program_registers
    test byte ptr ds:[BDA_VGA_FLAGS], 0x08
    jnz 1f
    mov cl, 2
    call load_palette
1:  pop si
    mov ax, DISPI_XRES
    mov bx, cs:[si + VBE_WIDTH]
    call dispi_set
    inc ax
    mov bx, cs:[si + VBE_HEIGHT]
    call dispi_set
    inc ax
    mov bx, cs:[si + VBE_BITS]
    call dispi_set
    inc ax
    mov bx, CALLER_BX
    shr bx, 8
    and bx, DISPI_NO_CLEAR | DISPI_LINEAR
    inc bx
    call dispi_set
    mov byte ptr ds:[BDA_VIDEO_MODE], MODE_VBE
    and byte ptr ds:[BDA_VIDEO_CTL], 0x7F
    and bl, DISPI_NO_CLEAR
    or ds:[BDA_VIDEO_CTL], bl
    mov ax, cs:[si + VBE_WIDTH]
    shr ax, 3
    mov ds:[BDA_COLUMNS], ax
    mov ax, cs:[si + VBE_HEIGHT]
    shr ax, 4
    dec ax
    mov ds:[BDA_LAST_ROW], al
    mov word ptr ds:[BDA_CHAR_HEIGHT], 16
    xor ax, ax
    mov ds:[BDA_PAGE_START], ax
    mov ds:[BDA_PAGE], al
    push ds
    pop es
    mov di, BDA_CURSOR
    mov cx, 8
    rep stosw
    jmp show_screen

/* Out: CS:SI = the mode that is set; CF when it is not one of these. Clobbers AX, BX, CX. */
current_mode:
    mov ax, DISPI_ENABLE
    call dispi_get
    test al, 1
    jz 3f
    mov ax, DISPI_XRES
    call dispi_get
    mov bx, ax
    mov ax, DISPI_YRES
    call dispi_get
    mov cx, ax
    mov ax, DISPI_BPP
    call dispi_get
    mov si, offset vbe_modes
1:  cmp bx, cs:[si + VBE_WIDTH]
    jne 2f
    cmp cx, cs:[si + VBE_HEIGHT]
    jne 2f
    cmp ax, cs:[si + VBE_BITS]
    je 4f
2:  add si, VBE_MODE_SIZE
    cmp si, offset vbe_modes_end
    jb 1b
3:  stc
4:  ret
