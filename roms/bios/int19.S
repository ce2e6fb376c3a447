/* INT 19h: boot. INT 18h: what a boot sector calls when it cannot.
 *
 * Out: what the board's boot order names is tried first (bootorder.S), in turn. Then a ROM that offers a bootstrap entry
 * (rom_files.S) is called. When there is none, or it comes back, the kinds of
 * drives are tried in the order that the CMOS memory gives: nibbles of 3Dh, the lower one first, then the upper one of
 * 38h, with 1 diskette, 2 hard disks, 3 CD-ROM; all zero stands for 2, 1, 3. Of a diskette, and of each hard disk in
 * turn, the first sector is read to 0000:7C00; one that ends in 55AAh gets control there with DL = its number, the other
 * general and segment registers 0 and SP = 7C00h. A CD-ROM boots by El Torito (boot_cd.S).
 * When none does, the screen says what was tried and why it would not do, and the machine waits.
 * Left out: booting from the network.
 */
#include "common.inc"

#define SIGNATURE 0xAA55

    .global int18, int19, halt, reboot
int19:
    cli
    cld
    xor ax, ax
    mov ss, ax
    mov esp, BOOT_ADDRESS
    mov ax, BDA_SEG
    mov ds, ax
    sti
    mov ax, EBDA_SEG
    mov fs, ax
    call emulation_end
    call boot_order_read
    jc 3f
1:  call boot_order_next
    cmp al, ORDER_END
    je 3f
    cmp al, ORDER_HALT
    je nothing_boots
    movzx bx, al
    add bx, bx
    push si
    call word ptr cs:[bx + order_calls]
    pop si
    jmp 1b
3:  call boot_rom
    mov al, 0x38
    call cmos_read
    mov ch, al
    shr ch, 4
    mov al, 0x3D
    call cmos_read
    mov cl, al
    test cx, cx
    jnz 4f
    mov cx, 0x0312
4:  mov bl, cl
    and bx, 3
    add bx, bx
    push cx
    xor dl, dl
    call word ptr cs:[bx + kind_calls]
    pop cx
    shr cx, 4
    jnz 4b
    jmp nothing_boots

/* By number of a kind in the CMOS memory, and by what a line of the boot order names. What is called here comes back when
 * there is nothing that boots; DS = BIOS data area and FS = EBDA are kept, all else is clobbered. */
kind_calls:  .word boot_nothing, boot_diskette, boot_disks, boot_cdrom
order_calls: .word boot_nothing, boot_nothing, boot_nothing, boot_rom, boot_unit, boot_diskette

boot_rom:
    cmp dword ptr fs:[EBDA_BOOTSTRAP], 0
    je boot_nothing
    pushad
    push ds
    push fs
    lcall fs:[EBDA_BOOTSTRAP]
    pop fs
    pop ds
    popad
boot_nothing:
    ret

/* In: DL = number of the drive; there is no booting from any but the first. */
boot_diskette:
    test dl, dl
    jnz boot_nothing
    call diskettes
    test al, al
    jz boot_nothing
    xor dl, dl
    jmp boot_drive

boot_disks:
    mov dl, 0x80
1:  mov al, dl
    sub al, 0x80
    cmp al, ds:[BDA_DISK_COUNT]
    jae boot_nothing
    call boot_drive
    inc dl
    jmp 1b

/* In: DL = twice the ATA channel plus the device. */
boot_unit:
    xor bx, bx
1:  cmp bl, ds:[BDA_DISK_COUNT]
    jae 2f
    mov si, bx
    shl si, 5                           // DRIVE_SIZE
    cmp dl, fs:[si + EBDA_DRIVES + DRIVE_UNIT]
    je 3f
    inc bx
    jmp 1b
2:  cmp dl, fs:[EBDA_CD + DRIVE_UNIT]
    je boot_cdrom                       // if there is one
    ret
3:  mov dl, bl
    or dl, 0x80

/* In: DL = drive, which is kept. */
boot_drive:
    call read_boot_sector
    jc boot_nothing
    cmp word ptr es:[BOOT_ADDRESS + 510], SIGNATURE
    jne boot_nothing
    jmp start

boot_cdrom:
    call cd_boot
    jc boot_nothing
    mov dl, fs:[EBDA_EMU_NUMBER]
    mov ax, fs:[EBDA_EMU_LOAD]
    jmp start_at
start:
    mov ax, BOOT_ADDRESS >> 4
/* In: DL = drive, AX = segment. The code starts there, at an address with as much as possible in the offset. */
start_at:
    mov sp, BOOT_ADDRESS
    mov bx, ax
    and ax, 0xF000
    push ax
    shl bx, 4
    push bx
    movzx edx, dl
    xor eax, eax
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    xor ebx, ebx
    xor ecx, ecx
    xor esi, esi
    xor edi, edi
    xor ebp, ebp
    retf

/* In: DL = drive. Out: CF and AH as INT 13h left them, ES = 0. A diskette drive may need a second try to find out what
 * is in it. Clobbers AX, BX, CX. */
read_boot_sector:
    push dx
    push si
    mov si, 3
1:  xor ax, ax
    mov es, ax
    mov ax, 0x0201
    mov bx, BOOT_ADDRESS
    mov cx, 1
    xor dh, dh
    int 0x13
    jnc 3f
    test dl, dl
    js 2f
    dec si
    jz 2f
    xor ah, ah
    int 0x13
    jmp 1b
2:  stc
3:  pop si
    pop dx
    ret

/* Goes over the disks again, this time telling what each had to say. */
nothing_boots:
    mov si, offset text_nothing
    call print
    mov dl, 0x80
1:  mov al, dl
    sub al, 0x80
    cmp al, ds:[BDA_DISK_COUNT]
    jae 3f
    mov si, offset text_disk
    call print
    mov al, dl
    call print_hex8
    call read_boot_sector
    mov si, offset text_no_signature
    jnc 2f
    mov si, offset text_read_error
    call print
    mov al, ah
    call print_hex8
    mov si, offset text_hex
2:  call print
    inc dl
    jmp 1b
3:  cmp byte ptr ds:[BDA_DISK_COUNT], 0
    jne 5f
    mov si, offset text_no_disk
    call print
5:  call diskettes
    test al, al
    jz 6f
    mov si, offset text_diskette
    call print
    xor dl, dl
    call read_boot_sector
    mov si, offset text_no_signature + 1
    jnc 7f
    mov si, offset text_read_error + 1
    call print
    mov al, ah
    call print_hex8
    mov si, offset text_hex
7:  call print
6:  mov ax, EBDA_SEG
    mov fs, ax
    call cd_boot
    jnc 4f
    test si, si
    jz 4f
    push si
    mov si, offset text_cdrom
    call print
    pop si
    call print
4:  mov si, offset text_halted
    call print
halt:
    sti
    hlt
    jmp halt

int18:
    sti
    mov si, offset text_int18
    call print
    jmp 4b

/* By the PIIX3's reset control register; by the 8042 where that one is missing. */
reboot:
    cli
    mov dx, 0xCF9
    mov al, 0x02                        // hard reset, not yet
    out dx, al
    mov al, 0x06                        // now
    out dx, al
    mov al, 0xFE
    out KBC_COMMAND, al
1:  hlt
    jmp 1b

text_nothing:      .asciz "No bootable disk found:\r\n"
text_disk:         .asciz "  disk "
text_diskette:     .asciz "  diskette"
text_cdrom:        .asciz "  CD-ROM: "
text_no_signature: .asciz "h: the first sector does not end in 55AAh\r\n"
text_read_error:   .asciz "h: the first sector cannot be read, error "
text_hex:          .asciz "h\r\n"
text_no_disk:      .asciz "  there is no disk on either IDE channel\r\n"
text_int18:        .asciz "\r\nThe boot sector found nothing to start (INT 18h).\r\n"
text_halted:       .asciz "Halted. Ctrl-Alt-Del restarts.\r\n"
