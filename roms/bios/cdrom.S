/* The CD-ROM drive by packets and programmed I/O: the first packet device that POST comes across.
 *
 * ATA/ATAPI-6, "PACKET command protocol"; MMC-3, "READ (10)", "READ CAPACITY"; SPC-3, "REQUEST SENSE".
 * Everything above counts in sectors of 512 bytes, of which four make a block; what a block has beside
 * the wanted ones is read and dropped.
 * Left out: DMA, further CD-ROM drives, changing discs in the middle of a read.
 */
#include "common.inc"
#include "disk.inc"

#define COMMAND_PACKET      0xA0
#define PACKET_SIZE         12
#define BLOCK_BYTES         2048
#define SECTOR_WORDS        256
#define SECTORS_MAX         64          /* in one command */
#define TRIES               4

#define TEST_UNIT_READY     0x00
#define REQUEST_SENSE       0x03
#define READ_CAPACITY       0x25
#define READ_10             0x28
#define SENSE_SIZE          18

#define KEY_NOT_READY       2
#define KEY_MEDIUM          3
#define KEY_ILLEGAL         5
#define KEY_ATTENTION       6

    .global cd_found, cd_init, cd_read, cd_simple, cd_clear_packet

/* In: FS:SI = record of a device that aborted IDENTIFY DEVICE. If it is the first packet device its record is kept.
 * Clobbers AX, DX. */
cd_found:
    cmp word ptr fs:[EBDA_CD + DRIVE_IO], 0
    jne 9f
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_LBA_MID
    in al, dx
    cmp al, 0x14
    jne 9f
    inc dx
    in al, dx
    cmp al, 0xEB
    jne 9f
    push bx
    xor bx, bx
1:  mov ax, fs:[si + bx]
    mov fs:[bx + EBDA_CD], ax
    add bx, 2
    cmp bx, DRIVE_SIZE
    jb 1b
    pop bx
9:  ret

/* Looks for a disc, and notes its sectors: 0 when there is none. In: FS = EBDA. Clobbers EAX-EDX, ESI, EDI, ES. */
cd_init:
    cmp word ptr fs:[EBDA_CD + DRIVE_IO], 0
    je 9f
    mov dword ptr fs:[EBDA_CD + DRIVE_TOTAL], 0
    mov dword ptr fs:[EBDA_CD + DRIVE_TOTAL + 4], 0
    call cd_clear_packet
    mov byte ptr fs:[EBDA_CD_PACKET], READ_CAPACITY
    mov dword ptr fs:[EBDA_CD_POINTER], EBDA_SEG << 16 | EBDA_SECTOR
    mov word ptr fs:[EBDA_CD_TAKE], 4
    call packet
    jc 9f
    mov eax, fs:[EBDA_SECTOR]           // the last block
    bswap eax
    inc eax
    jz 9f
    xor edx, edx
    shld edx, eax, 2
    shl eax, 2
    mov fs:[EBDA_CD + DRIVE_TOTAL], eax
    mov fs:[EBDA_CD + DRIVE_TOTAL + 4], edx
9:  ret

/* An empty packet, no data. */
cd_clear_packet:
    xor eax, eax
    mov fs:[EBDA_CD_PACKET], eax
    mov fs:[EBDA_CD_PACKET + 4], eax
    mov fs:[EBDA_CD_PACKET + 8], eax
    mov fs:[EBDA_CD_DROP], eax          // and EBDA_CD_TAKE
    ret

/* A packet without data. In: AL = operation, AH = its byte 4. Out: CF clear, AH = 0; or CF and AH = status.
 * Clobbers EAX-EDX, ESI, EDI, ES. */
cd_simple:
    push ax
    call cd_clear_packet
    pop ax
    mov fs:[EBDA_CD_PACKET], al
    mov fs:[EBDA_CD_PACKET + 4], ah
    jmp packet

/* Reads EBDA_LEFT sectors from EBDA_LBA on to EBDA_BUFFER.
 * Out: EBDA_DONE = sectors done; CF clear and AH = 0, or CF and AH = status. Clobbers EAX-EDX, ESI, EDI, ES. */
cd_read:
    mov word ptr fs:[EBDA_DONE], 0
    mov eax, fs:[EBDA_BUFFER]
    mov fs:[EBDA_CD_POINTER], eax
    mov ah, DISK_NOT_READY
    cmp word ptr fs:[EBDA_CD + DRIVE_IO], 0
    je 8f
1:  mov bx, fs:[EBDA_LEFT]
    xor ah, ah
    test bx, bx
    jz 9f
    call cd_clear_packet
    mov eax, fs:[EBDA_LBA]
    mov ecx, eax
    and cx, CD_BLOCK_SECTORS - 1        // sectors to drop
    mov dx, SECTORS_MAX
    sub dx, cx
    cmp bx, dx
    jbe 2f
    mov bx, dx                          // BX = sectors this time
2:  mov dx, cx
    add cx, bx
    add cx, CD_BLOCK_SECTORS - 1
    shr cx, 2                           // blocks
    shl dx, 8
    mov fs:[EBDA_CD_DROP], dx
    mov dh, bl
    xor dl, dl
    mov fs:[EBDA_CD_TAKE], dx
    shr eax, 2
    bswap eax
    mov byte ptr fs:[EBDA_CD_PACKET], READ_10
    mov fs:[EBDA_CD_PACKET + 2], eax
    mov fs:[EBDA_CD_PACKET + 8], cl
    mov eax, fs:[EBDA_CD_POINTER]
    push eax
    push bx
    call packet
    pop bx
    pop ecx
    jc 7f
    add fs:[EBDA_DONE], bx
    sub fs:[EBDA_LEFT], bx
    movzx ebx, bx
    add fs:[EBDA_LBA], ebx
    jmp 1b
7:  mov fs:[EBDA_CD_POINTER], ecx
8:  stc
9:  ret

/* Carries out the packet at EBDA_CD_PACKET, again when the drive wants attention first or a disc is spinning up.
 * Its data go where EBDA_CD_POINTER, EBDA_CD_DROP and EBDA_CD_TAKE say.
 * Out: CF clear, AH = 0; or CF and AH = status. Clobbers EAX-EDX, ESI, EDI, ES. */
packet:
    mov cx, TRIES
1:  push cx
    mov eax, fs:[EBDA_CD_POINTER]       // for another try
    push eax
    mov eax, fs:[EBDA_CD_DROP]
    push eax
    call packet_once
    jnc 6f
    test al, al
    jz 7f                               // it kept no protocol
    mov bl, al
    push eax
    call sense                          // which also ends the condition
    pop eax
    cmp bl, KEY_ATTENTION
    je 2f
    cmp bl, KEY_NOT_READY
    jne 7f
    cmp byte ptr fs:[EBDA_SECTOR + 12], 0x04
    jne 7f                              // no disc
    mov eax, 500000
    call wait_microseconds              // becoming ready
    mov ah, DISK_NOT_READY
2:  pop edx
    mov fs:[EBDA_CD_DROP], edx
    pop edx
    mov fs:[EBDA_CD_POINTER], edx
    pop cx
    loop 1b
    stc
    jmp 9f
6:  add sp, 10
    xor ah, ah
    jmp 9f
7:  add sp, 10
    stc
9:  pushf
    push ax
    mov si, EBDA_CD
    call interrupts_on
    pop ax
    popf
    ret

/* REQUEST SENSE, into EBDA_SECTOR. The packet under way is kept. */
sense:
    mov byte ptr fs:[EBDA_SECTOR + 12], 0
    mov eax, fs:[EBDA_CD_PACKET]
    push eax
    mov eax, fs:[EBDA_CD_PACKET + 4]
    push eax
    mov eax, fs:[EBDA_CD_PACKET + 8]
    push eax
    call cd_clear_packet
    mov byte ptr fs:[EBDA_CD_PACKET], REQUEST_SENSE
    mov byte ptr fs:[EBDA_CD_PACKET + 4], SENSE_SIZE
    mov word ptr fs:[EBDA_CD_TAKE], SENSE_SIZE / 2
    mov dword ptr fs:[EBDA_CD_POINTER], EBDA_SEG << 16 | EBDA_SECTOR
    call packet_once
    pop eax
    mov fs:[EBDA_CD_PACKET + 8], eax
    pop eax
    mov fs:[EBDA_CD_PACKET + 4], eax
    pop eax
    mov fs:[EBDA_CD_PACKET], eax
    ret

/* Out: CF clear; or CF, AH = status and AL = sense key, 0 when there is none.
 * Clobbers EAX, BX, ECX, EDX, ESI, EDI, ES. */
packet_once:
    mov si, EBDA_CD
    mov dx, fs:[si + DRIVE_CONTROL]
    mov al, CONTROL_NIEN
    out dx, al
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_DEVICE
    mov al, fs:[si + DRIVE_SELECT]
    out dx, al
    mov ecx, LIMIT_COMMAND
    mov ah, STATUS_BSY | STATUS_DRQ
    call poll_clear
    jc 8f
    mov dx, fs:[si + DRIVE_IO]
    xor al, al
    inc dx                              // features: no DMA
    out dx, al
    add dx, ATA_LBA_MID - 1
    out dx, al
    inc dx
    mov al, BLOCK_BYTES >> 8            // data in pieces of a block
    out dx, al
    add dx, ATA_STATUS - ATA_LBA_HIGH
    mov al, COMMAND_PACKET
    out dx, al
    mov ecx, LIMIT_COMMAND
    call poll_data
    jc 7f
    mov dx, fs:[si + DRIVE_IO]
    mov cx, PACKET_SIZE / 2
    mov si, EBDA_CD_PACKET
    rep outsw dx, fs:[si]
    mov si, EBDA_CD
1:  mov ecx, LIMIT_COMMAND
    mov ah, STATUS_BSY
    call poll_clear
    jc 8f
    test al, STATUS_DRQ
    jnz 2f
    test al, STATUS_ERR
    jz 9f                               // CF is clear
    mov dx, fs:[si + DRIVE_IO]
    inc dx
    in al, dx                           // ATA_ERROR: the sense key in bits 7:4
    shr al, 4
    mov ah, DISK_NOT_READY
    cmp al, KEY_NOT_READY
    je 6f
    mov ah, DISK_UNCORRECTABLE
    cmp al, KEY_MEDIUM
    je 6f
    mov ah, DISK_NO_SECTOR
    cmp al, KEY_ILLEGAL
    je 6f
    mov ah, DISK_CONTROLLER
6:  stc
    ret
2:  mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_LBA_MID
    in al, dx
    mov bl, al
    inc dx
    in al, dx
    mov bh, al
    inc bx
    shr bx, 1                           // words
    call move_words
    jmp 1b
8:  mov ah, DISK_TIMED_OUT
7:  xor al, al
    stc
9:  ret

/* BX words from the data port. Clobbers EAX, BX, CX, DX, DI, ES. */
move_words:
    mov dx, fs:[si + DRIVE_IO]
    mov cx, fs:[EBDA_CD_DROP]
    cmp cx, bx
    jbe 1f
    mov cx, bx
1:  sub fs:[EBDA_CD_DROP], cx
    call drop_words
    mov cx, fs:[EBDA_CD_TAKE]
    cmp cx, bx
    jbe 2f
    mov cx, bx
2:  sub fs:[EBDA_CD_TAKE], cx
    sub bx, cx
    mov ax, fs:[EBDA_CD_POINTER]        // by whole paragraphs, so that no piece wraps
    mov di, ax
    and di, 15
    shr ax, 4
    add ax, fs:[EBDA_CD_POINTER + 2]
    mov es, ax
    rep insw
    mov fs:[EBDA_CD_POINTER], di
    mov fs:[EBDA_CD_POINTER + 2], ax
    mov cx, bx
drop_words:
    sub bx, cx
    jcxz 2f
1:  in ax, dx
    loop 1b
2:  ret
