/* ATA disks by programmed I/O: finding them in POST, and moving sectors for INT 13h.
 *
 * ATA/ATAPI-6: "Register definitions", "PIO data-in command protocol", "IDENTIFY DEVICE".
 * The status is polled with the drive's interrupt off (nIEN), and every wait has a limit, so that a
 * dead drive gives an error. Sectors are addressed by LBA (28 bits where they reach, else 48), or by
 * cylinder, head and sector for a drive that knows nothing else.
 * A packet device is left to cdrom.S.
 * Left out: DMA, READ MULTIPLE.
 */
#include "common.inc"
#include "disk.inc"

#define COMMAND_IDENTIFY 0xEC
#define COMMAND_MAX     128             /* sectors a command */

#define LIMIT_FIND      (1000 * PIT_PER_MS)

    .global disk_init, disk_transfer, disk_reset, irq_disk
    .global interrupts_on, poll_clear, poll_data

/* Finds the disks, in order, and fills their records in the EBDA.
 * Clobbers all but BP, DS, SS:SP. FS is left at the EBDA. */
disk_init:
    mov ax, EBDA_SEG
    mov fs, ax
    mov es, ax
    mov si, EBDA_DRIVES
    xor bl, bl                          // unit: bit 1 channel, bit 0 device
1:  call find_drive
    jc 2f
    call drive_tables                   // geometry.S
    inc byte ptr ds:[BDA_DISK_COUNT]
    add si, DRIVE_SIZE
2:  inc bl
    cmp bl, 4
    jb 1b
    ret

/* In: BL = unit, FS:SI = record to fill, ES = EBDA. Out: CF when there is no disk. Keeps BX and SI. */
find_drive:
    mov dx, 0x1F0
    mov cx, 0x3F6
    mov al, 14
    test bl, 2
    jz 1f
    mov dx, 0x170
    mov cx, 0x376
    inc al
1:  mov fs:[si + DRIVE_IO], dx
    mov fs:[si + DRIVE_CONTROL], cx
    mov fs:[si + DRIVE_IRQ], al
    mov fs:[si + DRIVE_UNIT], bl
    mov al, bl
    and al, 1
    shl al, 4
    or al, 0xA0
    mov fs:[si + DRIVE_SELECT], al
    mov byte ptr fs:[si + DRIVE_FLAGS], 0

    add dx, ATA_STATUS
    in al, dx
    cmp al, 0xFF                        // nothing on the cable: no need to wait for this BSY
    je 9f
    mov ecx, LIMIT_FIND                 // fresh from a reset, a drive hears nothing until it is ready
    mov ah, STATUS_BSY
    call poll_clear
    jc 8f
    mov al, fs:[si + DRIVE_SELECT]
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_DEVICE
    out dx, al
    mov ecx, LIMIT_FIND                 // the one just selected may still start up as well
    mov ah, STATUS_BSY
    call poll_clear
    jc 8f
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_COUNT                   // a device keeps what is written to this register and the next
    mov al, 0x55
    out dx, al
    inc dx
    mov al, 0xAA
    out dx, al
    in al, dx
    cmp al, 0xAA
    jne 8f
    dec dx
    in al, dx
    cmp al, 0x55
    jne 8f

    mov dx, fs:[si + DRIVE_CONTROL]
    mov al, CONTROL_NIEN
    out dx, al
    mov ecx, LIMIT_FIND
    mov ah, STATUS_BSY
    call poll_clear
    jc 8f
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_STATUS
    mov al, COMMAND_IDENTIFY
    out dx, al
    in al, dx
    test al, al                         // zero: nobody there
    jz 8f
    mov ecx, LIMIT_FIND
    call poll_data
    jnc 7f
    call cd_found                       // a packet device aborts
    jmp 8f
7:
    mov dx, fs:[si + DRIVE_IO]
    mov di, EBDA_SECTOR
    mov cx, 256
    rep insw
    call interrupts_on
    clc
    ret
8:  call interrupts_on
9:  stc
    ret

/* Releases nIEN, after reading the status has taken back any interrupt request. Clobbers AL, DX. */
interrupts_on:
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_STATUS
    in al, dx
    mov dx, fs:[si + DRIVE_CONTROL]
    xor al, al
    out dx, al
    ret

/* Waits until the status bits in AH are clear. In: ECX = limit. Out: AL = status, CF when in vain.
 * The alternate status is read once before, which gives the device its 400 ns. Clobbers EAX-EDX. */
poll_clear:
    mov dx, fs:[si + DRIVE_CONTROL]
    in al, dx
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_STATUS
    in al, dx
    test al, ah
    jz 3f
    push bx
    push di
    mov bl, ah
    mov di, dx
    call limit_start
1:  xchg dx, di
    in al, dx
    xchg dx, di
    test al, bl                         // clears CF
    jz 2f
    call limit_passed
    jnc 1b
2:  pop di
    pop bx
3:  ret

/* Waits for a sector to move. In: ECX = limit. Out: CF clear at DRQ; else AH = INT 13h status. */
poll_data:
    call poll_end
    jc 1f
    test al, STATUS_DRQ
    jnz 1f                              // CF is clear
    mov ah, DISK_FAILED
    stc
1:  ret

/* Waits for the end of a command. In: ECX = limit. Out: AL = status, CF clear; or CF and AH = INT 13h
 * status made from the error register. */
poll_end:
    mov ah, STATUS_BSY
    call poll_clear
    mov ah, DISK_TIMED_OUT
    jc 9f
    test al, STATUS_DF
    mov ah, DISK_CONTROLLER
    jnz 8f
    test al, STATUS_ERR
    jz 9f
    mov dx, fs:[si + DRIVE_IO]
    inc dx
    in al, dx                           // ATA_ERROR
    mov ah, DISK_CRC
    test al, 0x80                       // ICRC
    jnz 8f
    mov ah, DISK_UNCORRECTABLE
    test al, 0x40                       // UNC
    jnz 8f
    mov ah, DISK_NO_SECTOR
    test al, 0x10                       // IDNF
    jnz 8f
    mov ah, DISK_BAD_COMMAND
    test al, 0x04                       // ABRT
    jnz 8f
    mov ah, DISK_FAILED
8:  stc
9:  ret

/* Moves EBDA_LEFT sectors from EBDA_LBA on, between the disk and EBDA_BUFFER, as EBDA_OPERATION says.
 * In: FS:SI = drive. Out: EBDA_DONE = sectors done; CF clear and AH = 0, or CF and AH = status.
 * Clobbers EAX, EBX, ECX, EDX, EDI, ES. */
disk_transfer:
    push si
    mov word ptr fs:[EBDA_DONE], 0
    mov dx, fs:[si + DRIVE_CONTROL]
    mov al, CONTROL_NIEN
    out dx, al
1:  mov bx, fs:[EBDA_LEFT]
    xor ah, ah
    test bx, bx
    jz 9f
    cmp bx, COMMAND_MAX
    jbe 2f
    mov bx, COMMAND_MAX
2:  call start_command
    jc 9f
    cmp byte ptr fs:[EBDA_OPERATION], TRANSFER_VERIFY
    je 6f
3:  mov ecx, LIMIT_COMMAND
    call poll_data
    jc 9f
    call move_sector
    mov cx, 1
    call advance
    dec bx
    jnz 3b
    mov ecx, LIMIT_COMMAND              // a write is over when the last sector has been taken
    call poll_end
    jnc 1b
    jmp 9f
6:  mov ecx, LIMIT_COMMAND
    call poll_end
    jc 9f
    mov cx, bx
    call advance
    jmp 1b
9:  pushf
    call interrupts_on
    popf
    pop si
    ret

/* Counts CX sectors as done. */
advance:
    add fs:[EBDA_DONE], cx
    sub fs:[EBDA_LEFT], cx
    movzx ecx, cx
    add fs:[EBDA_LBA], ecx
    adc dword ptr fs:[EBDA_LBA + 4], 0
    ret

/* One sector between the data port and the buffer, which moves on by whole paragraphs: an offset
 * below 16 can never wrap within a sector. Clobbers EAX, CX, DX, DI, ES. */
move_sector:
    mov ax, fs:[EBDA_BUFFER]
    mov di, ax
    and di, 15
    shr ax, 4
    add ax, fs:[EBDA_BUFFER + 2]
    mov es, ax
    mov fs:[EBDA_BUFFER], di
    add ax, 512 / 16
    mov fs:[EBDA_BUFFER + 2], ax
    mov dx, fs:[si + DRIVE_IO]
    mov cx, 256
    cmp byte ptr fs:[EBDA_OPERATION], TRANSFER_WRITE
    je 1f
    rep insw
    ret
1:  push si
    mov si, di
    rep outsw dx, es:[si]
    pop si
    ret

/* Gives the drive a command for BX sectors from EBDA_LBA on. Out: CF and AH when it will not listen.
 * Clobbers EAX, ECX, EDX, EDI. */
start_command:
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_DEVICE
    mov al, fs:[si + DRIVE_SELECT]
    out dx, al
    mov ecx, LIMIT_COMMAND
    mov ah, STATUS_BSY | STATUS_DRQ
    call poll_clear
    mov ah, DISK_TIMED_OUT
    jc 9f
    movzx di, byte ptr fs:[EBDA_OPERATION]
    mov eax, fs:[EBDA_LBA]
    mov ecx, fs:[EBDA_LBA + 4]
    test byte ptr fs:[si + DRIVE_FLAGS], DRIVE_HAS_LBA
    jz by_cylinder
    test ecx, ecx
    jnz 1f
    movzx edx, bx
    dec edx
    add edx, eax
    cmp edx, 0x0FFFFFFF                 // the last sector that 28 bits reach
    jbe 2f
1:  test byte ptr fs:[si + DRIVE_FLAGS], DRIVE_HAS_LBA48
    jz out_of_reach
    push eax                            // the registers' previous contents: count and LBA 47:24
    shld ecx, eax, 8                    // bits 47:24 in CX and below
    mov eax, ecx
    shl eax, 8
    mov al, bh
    call write_address
    pop eax
    shl eax, 8                          // count, LBA 23:0
    mov al, bl
    call write_address
    mov al, fs:[si + DRIVE_SELECT]
    or al, 0x40
    mov cl, cs:[commands + di + 3]
    jmp 8f
2:  rol eax, 8                          // AL = LBA 27:24
    mov cl, al
    mov al, bl
    call write_address
    mov al, cl
    or al, fs:[si + DRIVE_SELECT]
    or al, 0x40
7:  mov cl, cs:[commands + di]
8:  inc dx                              // ATA_DEVICE
    out dx, al
    inc dx
    mov al, cl
    out dx, al
    clc
9:  ret
out_of_reach:
    mov ah, DISK_NO_SECTOR
    stc
    ret

/* In: EAX = count and three address bytes, low to high. Out: DX = ATA_LBA_HIGH. Clobbers EAX. */
write_address:
    mov dx, fs:[si + DRIVE_IO]
    inc dx
.rept 4
    inc dx
    out dx, al
    shr eax, 8
.endr
    ret

/* LBA = (cylinder * heads + head) * sectors + sector - 1, in the drive's own geometry. */
by_cylinder:
    xor edx, edx
    movzx ecx, byte ptr fs:[si + DRIVE_PSECTORS]
    div ecx
    push dx                             // sector - 1
    xor edx, edx
    movzx ecx, byte ptr fs:[si + DRIVE_PHEADS]
    div ecx
    mov cl, dl                          // head
    shl eax, 16                         // cylinder to the upper two bytes
    pop dx
    mov ah, dl
    inc ah
    mov al, bl
    call write_address
    mov al, cl
    or al, fs:[si + DRIVE_SELECT]
    jmp 7b

/* By TRANSFER_: READ SECTORS, WRITE SECTORS, READ VERIFY SECTORS, then the same with EXT. */
commands:
    .byte 0x20, 0x30, 0x40
    .byte 0x24, 0x34, 0x42

/* Software reset of the drive's channel, which also frees a drive that was left in mid-transfer.
 * In: FS:SI = drive. Out: CF clear, AH = 0, or CF and AH. Clobbers EAX, ECX, EDX.
 * ATA/ATAPI-6, "Software reset protocol": SRST for 5 microseconds, 2 ms of rest, then BSY clears. */
disk_reset:
    mov dx, fs:[si + DRIVE_CONTROL]
    mov al, CONTROL_SRST | CONTROL_NIEN
    out dx, al
    mov eax, 5
    call wait_microseconds
    mov dx, fs:[si + DRIVE_CONTROL]
    mov al, CONTROL_NIEN
    out dx, al
    mov eax, 2000
    call wait_microseconds
    mov dx, fs:[si + DRIVE_IO]
    add dx, ATA_DEVICE
    mov al, fs:[si + DRIVE_SELECT]
    out dx, al
    mov ecx, LIMIT_COMMAND
    mov ah, STATUS_BSY
    call poll_clear
    mov ah, DISK_TIMED_OUT
    jc 1f
    xor ah, ah
1:  pushf
    push ax
    call interrupts_on
    pop ax
    popf
    ret

/* INT 76h and, through irq_slave_unused, 77h: notes that the disk called. */
irq_disk:
    push ax
    push ds
    push BDA_SEG
    pop ds
    mov byte ptr ds:[BDA_DISK_IRQ], 0xFF
    call irq_finish_slave
    pop ds
    pop ax
    iret
