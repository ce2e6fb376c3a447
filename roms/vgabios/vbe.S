/* INT 10h AH=4Fh: VESA BIOS Extension 2.0 (VESA, "VBE Core Functions").
 *
 * AL=00h information to ES:DI        AL=05h window A: BH=0 set to DX, 1 DX = position, in 64 KiB
 * AL=01h mode CX to ES:DI            AL=06h line length: BL=0 CX pixels, 1 as it is, 2 CX bytes, 3 the most
 * AL=02h sets mode BX                AL=07h display start: BL=0, 80h set to CX, DX; 1 get
 * AL=03h BX = mode                   AL=08h DAC: BL=0 set to BH bits, 1 BH = bits
 * AL=04h state (state.S)             AL=09h palette: BL=0, 80h from ES:DI, 1 to ES:DI; CX entries from DX on
 * AL=0Ah protected-mode interface (protected.S)      AL=10h power, 15h the monitor's EDID (monitor.S)
 * Out: AX = 004Fh, 014Fh when it cannot be done; unchanged where a function, or the adapter's extension, is not there.
 * Left out: 0Bh pixel clocks (VBE 3.0), 11h to 14h.
 */
#include "common.inc"
#include "vga.inc"
#include "vbe.inc"

    .global int10_4f, vbe_window_call

int10_4f:
    movzx si, al
    cmp si, 0x16
    jae 1f
    shl si, 1
    cmp word ptr cs:[si + functions], 0
    je 1f
    push ax
    call vbe_present
    pop ax
    jne 1f
    mov di, CALLER_DI
    mov es, CALLER_ES
    mov bx, CALLER_BX
    mov cx, CALLER_CX
    mov dx, CALLER_DX
    mov CALLER_AX, 0x004F
    call word ptr cs:[si + functions]
    jnc 1f
    mov CALLER_AX, 0x014F
1:  ret

/* Each returns CF when it cannot be done. */
functions:
    .word controller, mode, set, get, vbe_state, window, line_length, start, dac, palette, vbe_protected
    .word 0, 0, 0, 0, 0, vbe_power, 0, 0, 0, 0, vbe_ddc

controller:
    cmp dword ptr es:[di], 0x32454256   // "VBE2": the caller has room for 512 bytes
    pushf
    mov cx, 128
    push di
    xor ax, ax
    rep stosw
    pop di
    popf
    jne 1f
    mov word ptr es:[di + 0x14], 0x0100 // this software's version
    mov word ptr es:[di + 0x16], offset vendor
    mov es:[di + 0x18], cs
    mov word ptr es:[di + 0x1A], offset product
    mov es:[di + 0x1C], cs
    mov word ptr es:[di + 0x1E], offset revision
    mov es:[di + 0x20], cs
1:  mov dword ptr es:[di], 0x41534556   // "VESA"
    mov word ptr es:[di + 0x04], 0x0200
    mov word ptr es:[di + 0x06], offset product
    mov es:[di + 0x08], cs
    mov byte ptr es:[di + 0x0A], 1      // the DAC can have 8 bits
    mov word ptr es:[di + 0x0E], offset vbe_mode_numbers
    mov es:[di + 0x10], cs
    mov ax, DISPI_MEMORY
    call dispi_get
    mov es:[di + 0x12], ax
    clc
    ret
vendor:   .asciz "emu"
product:  .asciz "emu VGA BIOS"
revision: .asciz VERSION

mode:
    and cx, 0x1FF
    call find_mode
    jc 1f
    call vbe_mode_info
    clc
1:  ret

/* BX: number, bit 14 linear frame buffer, bit 15 memory stays. */
set:
    mov cx, bx
    and cx, 0x1FF
    test ch, ch
    jz 2f
    call find_mode
    jc 1f
    call vbe_set_mode
    clc
1:  ret
2:  mov al, bh
    and al, 0x80
    or al, cl
    call set_mode
    mov CALLER_AX, 0x004F               // AL is not what AH=00h answers
    ret

get:
    call current_mode
    jc 1f
    mov ax, DISPI_ENABLE
    call dispi_get
    shl ax, 8
    and ax, (DISPI_LINEAR | DISPI_NO_CLEAR) << 8
    or ax, cs:[si]
    mov CALLER_BX, ax
    clc
    ret
1:  movzx ax, byte ptr ds:[BDA_VIDEO_MODE]
    mov CALLER_BX, ax
    clc
    ret

window:
    test bl, bl
    jnz cannot
    cmp bh, 1
    ja cannot
    je 1f
    mov ax, DISPI_MEMORY
    call dispi_get
    cmp dx, ax
    jae cannot
    mov bx, dx
    mov ax, DISPI_BANK
    call dispi_set
    clc
    ret
1:  mov ax, DISPI_BANK
    call dispi_get
    mov CALLER_DX, ax
    clc
    ret
cannot:
    stc
    ret

/* Where WinFuncPtr points: a far call with the registers of AX=4F05h. Clobbers AX, and DX when asked. */
vbe_window_call:
    mov ax, 0x4F05
    pushf
    push cs
    call 1f
    retf
1:  jmp int10

/* A caller that asks for the length in bytes gets whole pixels. */
line_length:
    call current_mode
    jc cannot
    call bytes_of_pixel
    mov si, cx                          // bytes of a pixel
    mov cx, CALLER_CX
    mov bl, CALLER_BL
    cmp bl, 3
    ja cannot
    je 3f
    cmp bl, 1
    je 2f
    jb 1f
    mov ax, cx
    xor dx, dx
    add ax, si
    dec ax
    div si
    mov cx, ax
1:  mov bx, cx
    mov ax, DISPI_VIRT_WIDTH
    call dispi_set
    call dispi_get
    cmp ax, bx
    jne cannot
2:  mov ax, DISPI_VIRT_HEIGHT
    call dispi_get
    mov CALLER_DX, ax
    mov ax, DISPI_VIRT_WIDTH
    call dispi_get
4:  mov CALLER_CX, ax
    mul si
    mov CALLER_BX, ax
    clc
    ret
3:  mov ax, DISPI_YRES                  // the longest lines with which a picture still fits
    call dispi_get
    mul si
    movzx ebx, ax                       // at most 1024 times 4
    mov ax, DISPI_MEMORY
    call dispi_get
    shl eax, 16
    xor edx, edx
    div ebx
    cmp eax, 0x3FFF
    jbe 5f
    mov ax, 0x3FFF
5:  push ax
    mov ax, DISPI_YRES
    call dispi_get
    mov CALLER_DX, ax
    pop ax
    jmp 4b

start:
    push cx
    call current_mode
    pop cx
    jc cannot
    mov bl, CALLER_BL
    and bl, 0x7F
    cmp bl, 1
    ja cannot
    je 1f
    mov bx, cx
    mov ax, DISPI_X_OFFSET
    call dispi_set
    call dispi_get
    cmp ax, bx
    jne cannot
    mov bx, CALLER_DX
    mov ax, DISPI_Y_OFFSET
    call dispi_set
    call dispi_get
    cmp ax, bx
    jne cannot
    clc
    ret
1:  mov ax, DISPI_X_OFFSET
    call dispi_get
    mov CALLER_CX, ax
    mov ax, DISPI_Y_OFFSET
    call dispi_get
    mov CALLER_DX, ax
    mov CALLER_BH, 0
    clc
    ret

dac:
    call current_mode
    jc cannot
    mov bx, CALLER_BX
    mov ax, DISPI_ENABLE
    call dispi_get
    cmp bl, 1
    ja cannot
    je 2f
    and al, ~DISPI_8BIT_DAC & 0xFF
    cmp bh, 8
    jb 1f
    or al, DISPI_8BIT_DAC
1:  mov bx, ax
    mov ax, DISPI_ENABLE
    call dispi_set
    call dispi_get
2:  mov CALLER_BH, 6
    test al, DISPI_8BIT_DAC
    jz 3f
    mov CALLER_BH, 8
3:  clc
    ret

/* Entries of blue, green, red and a byte that is not used. */
palette:
    mov al, bl
    and al, 0x7F
    cmp al, 1
    ja cannot
    jcxz 3f
    mov ax, dx
    mov dx, VGA_DAC_WRITE
    je 2f
    out dx, al
    inc dx
1:  mov al, es:[di + 2]
    out dx, al
    mov al, es:[di + 1]
    out dx, al
    mov al, es:[di]
    out dx, al
    add di, 4
    loop 1b
    clc
    ret
2:  mov dx, VGA_DAC_READ
    out dx, al
    mov dx, VGA_DAC_DATA
4:  in al, dx
    mov es:[di + 2], al
    in al, dx
    mov es:[di + 1], al
    in al, dx
    mov es:[di], al
    mov byte ptr es:[di + 3], 0
    add di, 4
    loop 4b
3:  clc
    ret
