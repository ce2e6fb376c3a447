/* Booting from a CD-ROM: El Torito 1.0, "Boot Record Volume Descriptor", "Booting Catalog".
 *
 * The boot record is block 17; it names the block of the catalogue, whose first entry says that it is one, and whose
 * second is what the machine starts: an image that is loaded and either started as it is, or stands for a diskette or
 * a hard disk (eltorito.S).
 * Left out: choosing among the further entries; EFI's are among those.
 */
#include "common.inc"
#include "disk.inc"

#define RECORD_BLOCK     17
#define RECORD_LENGTH    30             /* of what tells it */
#define RECORD_CATALOGUE 0x47           /* dword */
#define BUFFER           BOOT_ADDRESS   /* in segment 0: where what is booted goes later */

#define VALIDATION_ID    0x01
#define VALIDATION_WORDS 16
#define ENTRY            0x20           /* the initial entry */
#define ENTRY_BOOTABLE   0x88
#define ENTRY_MEDIA      1
#define ENTRY_SEGMENT    2
#define ENTRY_COUNT      6
#define ENTRY_BLOCK      8

#define MEDIA_HARD_DISK  4
#define PARTITION_END    0x1BE + 5      /* head, sector and cylinder */

    .global cd_boot

/* In: FS = EBDA, DS = BIOS data area. Out: CF clear, and the image is loaded; or CF, and SI = why not, 0 when there is
 * no drive. Clobbers EAX-EDX, ESI, EDI, ES. */
cd_boot:
    xor si, si
    cmp word ptr fs:[EBDA_CD + DRIVE_IO], 0
    je 9f
    call cd_init
    mov si, offset text_no_disc
    cmp dword ptr fs:[EBDA_CD + DRIVE_TOTAL], 0
    je 9f
    mov eax, RECORD_BLOCK
    call read_block
    jc 9f
    xor ax, ax
    mov es, ax
    push ds
    mov ds, ax
    mov si, offset record
    mov di, BUFFER
    mov cx, RECORD_LENGTH
1:  mov al, cs:[si]
    cmp al, [di]
    jne 2f
    inc si
    inc di
    loop 1b
    cmp al, al                          // all the same
2:  pop ds
    mov si, offset text_no_record
    jne 9f
    mov eax, es:[BUFFER + RECORD_CATALOGUE]
    call read_block
    jc 9f
    mov di, BUFFER
    xor ax, ax
    mov es, ax
    mov si, offset text_catalogue
    cmp byte ptr es:[di], VALIDATION_ID
    jne 9f
    cmp word ptr es:[di + 0x1E], 0xAA55
    jne 9f
    mov cx, VALIDATION_WORDS
3:  add ax, es:[di]
    add di, 2
    loop 3b
    test ax, ax
    jnz 9f
    mov si, offset text_no_entry
    cmp byte ptr es:[BUFFER + ENTRY], ENTRY_BOOTABLE
    jne 9f
    mov al, es:[BUFFER + ENTRY + ENTRY_MEDIA]
    and al, 0x0F
    cmp al, MEDIA_HARD_DISK
    jbe load
9:  stc
    ret

/* In: ES = 0, the catalogue at BUFFER, AL = media type. */
load:
    mov fs:[EBDA_EMU_MEDIA], al
    mov eax, es:[BUFFER + ENTRY + ENTRY_BLOCK]
    mov fs:[EBDA_EMU_BLOCK], eax
    shl eax, 2
    mov fs:[EBDA_LBA], eax
    mov dword ptr fs:[EBDA_LBA + 4], 0
    mov bx, es:[BUFFER + ENTRY + ENTRY_SEGMENT]
    test bx, bx
    jnz 1f
    mov bx, BOOT_ADDRESS >> 4
1:  mov cx, es:[BUFFER + ENTRY + ENTRY_COUNT]
    test cx, cx
    jnz 2f
    inc cx
2:  mov fs:[EBDA_EMU_LOAD], bx
    mov fs:[EBDA_EMU_LOAD + 2], cx
    mov fs:[EBDA_LEFT], cx
    mov word ptr fs:[EBDA_BUFFER], 0
    mov fs:[EBDA_BUFFER + 2], bx
    mov si, offset text_too_large
    movzx eax, cx
    shl eax, 5                          // paragraphs
    movzx ebx, bx
    cmp bx, 0x50
    jb 9b
    add eax, ebx
    cmp eax, EBDA_SEG
    ja 9b
    call cd_read
    mov si, offset text_error
    jc 9b
    mov byte ptr fs:[EBDA_EMU_BOOTED], 1
    movzx bx, byte ptr fs:[EBDA_EMU_MEDIA]
    mov byte ptr fs:[EBDA_EMU_HEADS], 0
    mov byte ptr fs:[EBDA_EMU_SECS], 0
    mov word ptr fs:[EBDA_EMU_CYLS], 0
    mov byte ptr fs:[EBDA_EMU_NUMBER], CD_NUMBER
    test bx, bx
    jz 6f
    cmp bl, MEDIA_HARD_DISK
    je 4f
    mov al, cs:[bx + sectors - 1]
    mov fs:[EBDA_EMU_SECS], al
    mov byte ptr fs:[EBDA_EMU_HEADS], 2
    mov word ptr fs:[EBDA_EMU_CYLS], 80
    mov byte ptr fs:[EBDA_EMU_NUMBER], 0
    call diskettes
    inc al
    call diskettes_set
    jmp 5f
4:  mov es, fs:[EBDA_EMU_LOAD]          // its geometry is where the first partition ends
    mov al, es:[PARTITION_END]
    inc al
    mov fs:[EBDA_EMU_HEADS], al
    mov ax, es:[PARTITION_END + 1]
    mov cl, al
    and cl, 0x3F
    mov fs:[EBDA_EMU_SECS], cl
    xchg al, ah
    shr ah, 6
    inc ax
    mov fs:[EBDA_EMU_CYLS], ax
    mov byte ptr fs:[EBDA_EMU_NUMBER], 0x80
    inc byte ptr ds:[BDA_DISK_COUNT]
5:  mov al, fs:[EBDA_EMU_MEDIA]
    mov fs:[EBDA_EMULATION], al
6:  clc
    ret

sectors: .byte 15, 18, 36

/* In: EAX = block. Out: it is at BUFFER; or CF and SI = why not. Clobbers EAX-EDX, EDI, ES. */
read_block:
    shl eax, 2
    mov fs:[EBDA_LBA], eax
    mov dword ptr fs:[EBDA_LBA + 4], 0
    mov word ptr fs:[EBDA_LEFT], CD_BLOCK_SECTORS
    mov dword ptr fs:[EBDA_BUFFER], BUFFER
    call cd_read
    mov si, offset text_error
    ret

record:         .byte 0
                .ascii "CD001"
                .byte 1
                .ascii "EL TORITO SPECIFICATION"
text_no_disc:   .asciz "there is no disc in the drive\r\n"
text_error:     .asciz "the disc cannot be read\r\n"
text_no_record: .asciz "the disc has no boot record (El Torito)\r\n"
text_catalogue: .asciz "the disc's boot catalogue is damaged\r\n"
text_no_entry:  .asciz "the disc's boot catalogue has nothing to start\r\n"
text_too_large: .asciz "the disc's boot image does not fit into memory\r\n"
