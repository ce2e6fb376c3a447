/* INT 10h AH=1Ch and AX=4F04h: the display's state, saved and restored.
 *
 * AH=1Ch AL=00h: BX = blocks of 64 bytes that the states CX take; 01h saves them to ES:BX, 02h brings them back;
 *        AL = 1Ch
 * AX=4F04h DL=00h: BX = blocks; 01h saves, 02h brings back
 * States: bit 0 registers, 1 what the BIOS has in memory, 2 DAC, 3 (4F04h alone) the adapter's extension.
 * Left out: display memory and its latches, and a DAC entry of which a part was read or written.
 */
#include "common.inc"
#include "vga.inc"
#include "vbe.inc"

    .global int10_1c, vbe_state

int10_1c:
    and cx, 7
    mov bx, CALLER_BX
    mov es, CALLER_ES
    call state
    jc 2f
    cmp CALLER_AL, 0
    jne 1f
    mov CALLER_BX, bx
1:  mov CALLER_AL, 0x1C
2:  ret

/* Returns CF when it cannot be done. */
vbe_state:
    mov al, dl
    and cx, 0x0F
    call state
    jc 1f
    cmp CALLER_DL, 0
    jne 1f
    mov CALLER_BX, bx
1:  ret

/* In: AL = 0 size, 1 save, 2 restore; CX = states; ES:BX = where. Out: BX = blocks; CF when AL is another. */
state:
    mov di, bx
    movzx bx, al
    cmp bl, 3
    cmc
    jc 4f
    shl bx, 1                           // where in its record a part has what is to be done
    xor dx, dx
    mov si, offset parts
1:  test cl, cs:[si]
    jz 3f
    test bx, bx
    jz 2f
    pusha
    call word ptr cs:[bx + si]
    popa
2:  movzx ax, byte ptr cs:[si + 1]
    add dx, ax
    shl ax, 6
    add di, ax
3:  add si, 6
    cmp si, offset parts_end
    jb 1b
    mov bx, dx
    clc
4:  ret

/* State, blocks, how it is saved to and restored from ES:DI. The extension comes first: setting its mode sets registers,
 * and it says how wide the DAC is. */
.macro PART state, blocks, save, restore
    .byte \state, \blocks
    .word \save, \restore
.endm
parts:
    PART 8, 1, save_extension, restore_extension
    PART 1, 2, save_registers, restore_registers
    PART 2, 1, save_data, restore_data
    PART 4, 13, save_dac, restore_dac
parts_end:

/* Registers 1 to 9, a word each. */
save_extension:
    mov cx, DISPI_XRES
1:  mov ax, cx
    call dispi_get
    stosw
    inc cx
    cmp cx, DISPI_Y_OFFSET
    jbe 1b
    ret
#define SAVED(register) word ptr es:[di + 2 * (register - DISPI_XRES)]

restore_extension:
    call vbe_off
    mov ax, DISPI_XRES
1:  mov bx, es:[di]
    call dispi_set
    add di, 2
    inc ax
    cmp ax, DISPI_BPP
    jbe 1b
    sub di, 2 * 3
    mov bx, SAVED(DISPI_ENABLE)         // ax = DISPI_ENABLE
    push bx
    or bx, DISPI_NO_CLEAR
    call dispi_set
    pop bx
    call dispi_set
    mov bx, SAVED(DISPI_BANK)
    mov ax, DISPI_BANK
    call dispi_set
    mov bx, SAVED(DISPI_VIRT_WIDTH)     // the height follows from it
    mov ax, DISPI_VIRT_WIDTH
    call dispi_set
    mov bx, SAVED(DISPI_X_OFFSET)
    mov ax, DISPI_X_OFFSET
    call dispi_set
    mov bx, SAVED(DISPI_Y_OFFSET)
    mov ax, DISPI_Y_OFFSET
    jmp dispi_set

/* Miscellaneous output, feature control, four index registers; then sequencer, CRTC, graphics, attribute controller. */
#define SEQUENCER_COUNT    5
#define CRTC_COUNT         25
#define GRAPHICS_COUNT     9
#define ATTRIBUTE_COUNT    21

/* Out: DX = index port of the CRTC, as the miscellaneous output register AL places it. */
crtc_port:
    mov dx, VGA_CRTC_COLOUR
    test al, 1
    jnz 1f
    mov dl, (VGA_CRTC_COLOUR - 0x20) & 0xFF
1:  ret

save_registers:
    push di
    mov dx, VGA_MISC_READ
    in al, dx
    stosb
    call crtc_port
    mov bx, dx
    mov dx, VGA_FEATURE_READ
    in al, dx
    stosb
    mov dx, VGA_SEQUENCER
    in al, dx
    stosb
    mov dx, bx
    in al, dx
    stosb
    mov dx, VGA_GRAPHICS
    in al, dx
    stosb
    mov dx, VGA_ATTRIBUTE
    in al, dx
    stosb
    mov dx, VGA_SEQUENCER
    mov cx, SEQUENCER_COUNT
    call save_indexed
    mov dx, bx
    mov cx, CRTC_COUNT
    call save_indexed
    mov dx, VGA_GRAPHICS
    mov cx, GRAPHICS_COUNT
    call save_indexed
    mov cx, ATTRIBUTE_COUNT
    xor ah, ah
1:  call attribute_index
    mov dx, VGA_ATTRIBUTE
    mov al, ah
    out dx, al
    inc dx
    in al, dx
    stosb
    inc ah
    loop 1b
    pop di                              // and on to the indices, the last of which turns the screen on

/* The four index registers from the record at ES:DI. In: BX = port of the CRTC. */
restore_indices:
    mov al, es:[di + 2]
    mov dx, VGA_SEQUENCER
    out dx, al
    mov al, es:[di + 3]
    mov dx, bx
    out dx, al
    mov al, es:[di + 4]
    mov dx, VGA_GRAPHICS
    out dx, al
    call attribute_index
    mov al, es:[di + 5]
    mov dx, VGA_ATTRIBUTE
    out dx, al

/* The attribute controller takes an index next. In: BX = port of the CRTC. */
attribute_index:
    push ax
    lea dx, [bx + VGA_STATUS - VGA_CRTC_COLOUR]
    in al, dx
    pop ax
    ret

/* CX registers from 0 on behind the index port DX, to ES:DI. */
save_indexed:
    xor ah, ah
1:  mov al, ah
    out dx, al
    inc dx
    in al, dx
    dec dx
    stosb
    inc ah
    loop 1b
    ret

/* CX registers from AH on, from ES:DI. */
restore_indexed:
    push ax
    mov al, ah
    mov ah, es:[di]
    out dx, ax
    pop ax
    inc di
    inc ah
    loop restore_indexed
    ret

restore_registers:
    push di
    mov dx, VGA_SEQUENCER
    INDEXED_OUT 0, 1                    // synchronous reset while the clock may change
    mov al, es:[di]
    mov dx, VGA_MISC
    out dx, al
    call crtc_port
    mov bx, dx
    add dx, VGA_STATUS - VGA_CRTC_COLOUR
    mov al, es:[di + 1]
    out dx, al
    add di, 7                           // sequencer register 1
    mov dx, VGA_SEQUENCER
    mov cx, SEQUENCER_COUNT - 1
    mov ah, 1
    call restore_indexed
    mov al, 0
    mov ah, es:[di - SEQUENCER_COUNT]
    out dx, ax
    mov dx, bx
    mov al, CRTC_PROTECT
    mov ah, es:[di + CRTC_PROTECT]
    and ah, 0x7F                        // registers 0-7 writable
    out dx, ax
    mov cx, CRTC_COUNT
    xor ah, ah
    call restore_indexed
    mov dx, VGA_GRAPHICS
    mov cx, GRAPHICS_COUNT
    xor ah, ah
    call restore_indexed
    mov cx, ATTRIBUTE_COUNT
    xor ah, ah
    call attribute_index
    mov dx, VGA_ATTRIBUTE
1:  mov al, ah
    out dx, al
    mov al, es:[di]
    out dx, al
    inc di
    inc ah
    loop 1b
    pop di
    jmp restore_indices

/* The video parts of the BIOS data area, the equipment word's, and the vectors of the two fonts. */
save_data:
    mov si, BDA_VIDEO_MODE
    mov cx, 30
    rep movsb
    mov si, BDA_LAST_ROW
    mov cx, 7
    rep movsb
    mov si, BDA_SAVE_TABLE
    movsd
    mov al, ds:[BDA_EQUIPMENT]
    stosb
    push ds
    push 0
    pop ds
    mov si, 0x1F * 4
    movsd
    mov si, 0x43 * 4
    movsd
    pop ds
    ret

restore_data:
    push ds
    push es
    push es
    push ds
    pop es
    pop ds                              // from DS:SI to ES:DI
    mov si, di
    mov di, BDA_VIDEO_MODE
    mov cx, 30
    rep movsb
    mov di, BDA_LAST_ROW
    mov cx, 7
    rep movsb
    mov di, BDA_SAVE_TABLE
    movsd
    lodsb
    and al, 0x30
    and byte ptr es:[BDA_EQUIPMENT], ~0x30 & 0xFF
    or es:[BDA_EQUIPMENT], al
    push 0
    pop es
    mov di, 0x1F * 4
    movsd
    mov di, 0x43 * 4
    movsd
    pop es
    pop ds
    ret

/* Mask, index of the next write, and 256 entries. */
save_dac:
    mov dx, VGA_PEL_MASK
    in al, dx
    stosb
    mov dx, VGA_DAC_WRITE
    in al, dx
    stosb
    mov dx, VGA_DAC_READ
    mov al, 0
    out dx, al
    mov dx, VGA_DAC_DATA
    mov cx, 768
    rep insb
    mov al, es:[di - 768 - 1]
    jmp 1f

restore_dac:
    mov dx, VGA_PEL_MASK
    mov al, es:[di]
    out dx, al
    mov dx, VGA_DAC_WRITE
    mov al, 0
    out dx, al
    push ds
    push es
    pop ds
    lea si, [di + 2]
    mov dx, VGA_DAC_DATA
    mov cx, 768
    rep outsb
    pop ds
    mov al, es:[di + 1]
1:  mov dx, VGA_DAC_WRITE
    out dx, al
    ret
