/* Option ROMs that the board offers as fw_cfg files "genroms/...": each is copied into RAM behind the expansion ROMs
 * that answer on the bus, and initialised like them.
 *
 * i440FX sheet (82441FX), "PAM[6:0]": registers 5Bh to 5Dh have a nibble for each 16 KiB from C8000h on.
 * BIOS Boot Specification 1.01, "Plug and Play Expansion Header": the first bootstrap entry vector that a ROM
 * offers is what INT 19h tries before the disks, unless the boot order (bootorder.S) names others first.
 * Left out: boot connection vectors.
 */
#include "common.inc"

#define PAM2          0x5B
#define ROMS_START    0xC800
#define ROMS_END      0xE000
#define ROM_PIECE     0x400             /* paragraphs that share a PAM nibble */
#define READ_WRITE    0x33
#define READ_ONLY     0x11
#define FILE_NAME     8                 /* in a directory entry: size, selector, two unused, name */
#define PREFIX_LENGTH 8

    .global rom_files, rom_bootstrap

/* In: AX = segment where the ROMs on the bus end. Clobbers everything but DS, SS:SP. */
rom_files:
    add ax, ROM_PIECE - 1
    and ax, ~(ROM_PIECE - 1) & 0xFFFF
    mov bp, ax                          // BP = where the next one goes
    push ax
    xor di, di                          // DI = number of the file
1:  push EBDA_SEG
    pop es
    mov ax, di
    inc di
    push di
    mov di, EBDA_SECTOR
    call fw_cfg_entry
    pop di
    jc 3f
    mov si, offset prefix
    mov bx, EBDA_SECTOR + FILE_NAME
    mov cx, PREFIX_LENGTH
2:  mov al, cs:[si]
    cmp al, es:[bx]
    jne 1b
    inc si
    inc bx
    loop 2b
    push di
    call rom_file
    pop di
    jmp 1b
3:  pop ax
4:  cmp ax, bp                          // all of them are ROM from now on
    jae 5f
    mov bl, READ_ONLY
    call set_piece
    add ax, ROM_PIECE
    jmp 4b
5:  ret

/* In: EBDA_SECTOR = the file's entry in the directory, BP = segment for it. Out: BP = segment behind it; the same
 * when it is no ROM or there is no room. Clobbers everything but DS, SS:SP. */
rom_file:
    mov ecx, es:[EBDA_SECTOR]
    bswap ecx
    mov si, es:[EBDA_SECTOR + 4]
    xchg si, ax
    xchg al, ah
    xchg si, ax                         // SI = selector
    mov eax, ROMS_END * 16
    movzx edx, bp
    shl edx, 4
    sub eax, edx
    cmp ecx, eax
    ja 9f
    cmp ecx, 0x10000
    jae 9f
    test ecx, ecx
    jz 9f
    mov di, cx
    add di, 15
    shr di, 4                           // paragraphs
    add di, bp
    mov ax, bp
1:  mov bl, READ_WRITE
    call set_piece
    and ax, ~(ROM_PIECE - 1) & 0xFFFF
    add ax, ROM_PIECE
    cmp ax, di
    jb 1b
    mov es, bp
    mov ax, si
    call fw_cfg_select
    xor di, di
    call fw_cfg_read
    cmp word ptr es:[0], 0xAA55
    jne 9f
    call option_rom_sum
    jnz 9f
    call option_rom_start
    movzx ax, byte ptr es:[2]
    add ax, 3                           // half KiB, rounded up to 2 KiB
    and ax, 0x00FC
    shl ax, 5
    add bp, ax
9:  ret

/* In: AX = a segment from C800h on, BL = READ_WRITE or READ_ONLY. Clobbers BX, DX. */
set_piece:
    push eax
    push cx
    sub ax, ROMS_START
    shr ax, 10                          // number of its nibble
    mov bh, 0x0F
    shr ax, 1
    jnc 1f
    mov bh, 0xF0
1:  and bl, bh
    mov cx, ax
    mov eax, 0x80000000 + (PAM2 & ~3)
    mov dx, PCI_ADDRESS
    add cx, PAM2 & 3
    cmp cx, 4
    jb 2f
    add al, 4
2:  and cx, 3
    out dx, eax
    mov dx, PCI_DATA
    add dx, cx
    in al, dx
    not bh
    and al, bh
    or al, bl
    out dx, al
    pop cx
    pop eax
    ret

/* In: ES = a ROM just initialised. Remembers the first bootstrap entry vector. Clobbers BX. */
rom_bootstrap:
    mov bx, es:[0x1A]
    test bx, bx
    jz 1f
    cmp dword ptr es:[bx], 0x506E5024   // "$PnP"
    jne 1f
    mov bx, es:[bx + 0x1A]
    test bx, bx
    jz 1f
    push ds
    push EBDA_SEG
    pop ds
    cmp dword ptr ds:[EBDA_BOOTSTRAP], 0
    jne 2f
    mov ds:[EBDA_BOOTSTRAP], bx
    mov ds:[EBDA_BOOTSTRAP + 2], es
2:  pop ds
1:  ret

prefix: .ascii "genroms/"
