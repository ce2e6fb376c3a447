/* INT 19h: boot. INT 18h: what a boot sector calls when it cannot.
 *
 * Out: a ROM that offers a bootstrap entry (rom_files.S) is called. When there is none, or it comes back, each hard
 * disk's first sector is read to 0000:7C00 in turn; the first that ends in 55AAh gets control there with
 * DL = its number, the other general and segment registers 0 and SP = 7C00h.
 * When none does, the screen says what was tried and why it would not do, and the machine waits.
 * Left out: diskettes, CD-ROMs (El Torito), booting from the network.
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
    mov es, ax
    cmp dword ptr es:[EBDA_BOOTSTRAP], 0
    je 3f
    pushad
    push ds
    lcall es:[EBDA_BOOTSTRAP]
    pop ds
    popad
3:  mov dl, 0x80
1:  mov al, dl
    sub al, 0x80
    cmp al, ds:[BDA_DISK_COUNT]
    jae nothing_boots
    call read_boot_sector
    jc 2f
    cmp word ptr es:[BOOT_ADDRESS + 510], SIGNATURE
    je start
2:  inc dl
    jmp 1b

start:
    movzx edx, dl
    xor eax, eax
    mov ds, ax
    mov fs, ax
    mov gs, ax
    xor ebx, ebx
    xor ecx, ecx
    xor esi, esi
    xor edi, edi
    xor ebp, ebp
    FAR_JUMP 0, BOOT_ADDRESS

/* In: DL = disk. Out: CF and AH as INT 13h left them, ES = 0. Clobbers AX, BX, CX. */
read_boot_sector:
    push dx
    xor ax, ax
    mov es, ax
    mov ax, 0x0201
    mov bx, BOOT_ADDRESS
    mov cx, 1
    xor dh, dh
    int 0x13
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
    jne 4f
    mov si, offset text_no_disk
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
text_no_signature: .asciz "h: the first sector does not end in 55AAh\r\n"
text_read_error:   .asciz "h: the first sector cannot be read, error "
text_hex:          .asciz "h\r\n"
text_no_disk:      .asciz "  there is no disk on either IDE channel\r\n"
text_int18:        .asciz "\r\nThe boot sector found nothing to start (INT 18h).\r\n"
text_halted:       .asciz "Halted. Ctrl-Alt-Del restarts.\r\n"
