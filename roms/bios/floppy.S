/* Diskettes: INT 13h with DL below 80h, and IRQ 6.
 *
 * Intel 82077AA sheet, "Command Set/Descriptions"; IBM PS/2 and PC BIOS Interface, "Interrupt 13h - Diskette".
 * AH=00h reset         AH=01h status of the last call
 * AH=02h read AL sectors from CH (track), CL (sector), DH (head) to ES:BX, AH=03h write, AH=04h verify: AL = done
 * AH=05h format a track: ES:BX = four bytes a sector
 * AH=08h parameters: BL = type, CH, CL, DH = highest, DL = drives, ES:DI = diskette parameter table
 * AH=15h AH = 0 no drive, 1 without change line, 2 with one    AH=16h change line    AH=17h, 18h set the kind of medium
 * The kinds of drives are in CMOS 10h. What is in a drive is found out by READ ID at each rate that it can be; a change
 * of diskettes is reported once, with status 06h. A transfer goes on from head 0 to head 1.
 * Sectors on a track are what the caller's own table (vector 1Eh) says, or what diskettes of that rate have.
 * Left out: sectors of other sizes than 512, transfers over a 64 KiB boundary (status 09h), more than two drives.
 */
#include "common.inc"
#include "disk.inc"

#define FDC_DOR         0x3F2           /* digital output: 7:4 motors, 3 DMA and interrupt, 2 not reset, 1:0 drive */
#define FDC_MSR         0x3F4           /* main status */
#define FDC_DATA        0x3F5
#define FDC_DIR         0x3F7           /* read: bit 7 diskette changed; write: 1:0 data rate */
#define MSR_RQM         0x80
#define MSR_DIO         0x40
#define DOR_ENABLE      0x0C

#define FDC_SPECIFY     0x03
#define FDC_RECALIBRATE 0x07
#define FDC_SENSE       0x08
#define FDC_READ_ID     0x4A            /* MFM */
#define FDC_FORMAT      0x4D
#define FDC_SEEK        0x0F
#define FDC_READ        0xE6            /* multi-track, MFM, skip deleted */
#define FDC_WRITE       0xC5

#define DMA_ADDRESS2    0x04
#define DMA_COUNT2      0x05
#define DMA_MASK        0x0A
#define DMA_MODE        0x0B
#define DMA_FLIP_FLOP   0x0C
#define DMA_PAGE2       0x81
#define DMA_TO_MEMORY   0x46            /* single transfers on channel 2 */
#define DMA_FROM_MEMORY 0x4A
#define DMA_VERIFY      0x42

#define RATE_500        0
#define RATE_300        1
#define RATE_250        2
#define RATE_1000       3

#define MEDIA_KNOWN     0x10            /* BDA_FD_MEDIA: bits 7:6 rate */
#define TABLE_MOTOR_OFF 2
#define TABLE_SECTORS   4
#define TABLE_GAP       5
#define TABLE_FORMAT    7               /* gap, then the byte to fill with */
#define LIMIT_BYTE      (20 * PIT_PER_MS)
#define LIMIT_FLOPPY    (2000 * PIT_PER_MS)
#define SPIN_UP         10              /* ticks of 55 ms */

#define STATUS_NO_MARK  0x02
#define STATUS_CHANGED  0x06
#define STATUS_OVERRUN  0x08
#define STATUS_BOUNDARY 0x09

    .global floppy_init, int13_floppy, irq_floppy, floppy_tick, diskettes, diskettes_set, diskette_table

/* Counts the drives, and resets the controller when there are any. Clobbers EAX, BX, ECX, EDX. */
floppy_init:
    mov al, 0x10
    call cmos_read
    test al, al
    jz 9f
    mov bl, al
    mov dx, FDC_MSR
    in al, dx
    cmp al, 0xFF
    je 9f                               // nobody there
    mov al, 1
    test bl, 0x0F
    jz 1f
    inc al
1:  call diskettes_set
    call controller_reset
9:  ret

/* Out: AL = diskette drives that INT 11h tells of. Needs DS = BIOS data area. */
diskettes:
    mov al, ds:[BDA_EQUIPMENT]
    test al, 1
    jz 1f
    shr al, 6
    inc al
    ret
1:  xor al, al
    ret

/* In: AL = diskette drives, 0 to 4. Clobbers AX. */
diskettes_set:
    and byte ptr ds:[BDA_EQUIPMENT], 0x3E
    sub al, 1
    jc 1f
    and al, 3
    shl al, 6
    or al, 1
    or ds:[BDA_EQUIPMENT], al
1:  ret

/* IRQ 6. */
irq_floppy:
    push ax
    push ds
    push BDA_SEG
    pop ds
    or byte ptr ds:[BDA_FD_SEEK], 0x80
    call irq_finish
    pop ds
    pop ax
    iret

/* Every tick: motors go off some time after the last use. In: DS = BIOS data area. Clobbers AX, DX. */
floppy_tick:
    cmp byte ptr ds:[BDA_FD_TIMEOUT], 0
    je 1f
    dec byte ptr ds:[BDA_FD_TIMEOUT]
    jnz 1f
    and byte ptr ds:[BDA_FD_MOTOR], 0xF0
    mov dx, FDC_DOR
    mov al, DOR_ENABLE
    out dx, al
1:  ret

/* In: AL = drive, AH = function, DS = BIOS data area, FS = EBDA. Out: AH = status. */
int13_floppy:
    movzx edi, al                       // DI = drive, all the way down
    mov bl, al
    call real_drives
    cmp bl, al
    jae no_drive
    movzx bx, ah
    cmp bx, 0x19
    jae invalid
    shl bx, 1
    call word ptr cs:[bx + functions]
note:
    mov ds:[BDA_FD_STATUS], ah
    ret

functions:
    .word reset, status, read, write, verify, format, invalid, invalid
    .word parameters, invalid, invalid, invalid, invalid, reset, invalid, invalid
    .word invalid, invalid, invalid, invalid, invalid, type, change, set_type, set_medium

/* Out: AL = drives but the one that a boot image stands for. */
real_drives:
    call diskettes
    cmp byte ptr fs:[EBDA_EMULATION], 0
    je 1f
    cmp byte ptr fs:[EBDA_EMU_NUMBER], 0
    jne 1f
    dec al
1:  ret

no_drive:
    cmp ah, 0x01
    je status
    cmp ah, 0x15
    je 2f
    cmp ah, 0x08
    mov ah, DISK_TIMED_OUT
    jne note
    mov CALLER_CX, 0                    // all zero, and no error
    mov CALLER_BX, 0
    mov CALLER_AX, 0
    call diskettes
    movzx ax, al
    mov CALLER_DX, ax
    xor ah, ah
    ret
2:  xor al, al
answer_in_ah:
    mov byte ptr ds:[BDA_FD_STATUS], 0
    mov CALLER_AH, al
    CALLER_CLC
    END_SERVICE

invalid:
    mov ah, DISK_BAD_COMMAND
    ret
status:
    mov ah, ds:[BDA_FD_STATUS]
    ret
reset:
    call controller_reset
    ret

/* Out: AL = the drive's kind as CMOS has it: 1 360K, 2 1.2M, 3 720K, 4 1.44M, 5 and 6 2.88M. */
kind:
    mov al, 0x10
    call cmos_read
    test di, di
    jnz 1f
    shr al, 4
1:  and al, 0x0F
    cmp al, 6
    jbe 2f
    mov al, 4
2:  ret

type:
    call kind
    cmp al, 1
    je answer_in_ah
    mov al, 2
    jmp answer_in_ah

parameters:
    call kind
    movzx bx, al
    mov CALLER_BX, bx
    mov al, cs:[bx + tracks]
    dec al
    mov ch, al
    mov cl, cs:[bx + kind_sectors]
    mov CALLER_CX, cx
    mov CALLER_DH, 1
    call diskettes
    mov CALLER_DL, al
    mov CALLER_AL, 0
    mov CALLER_ES, cs
    mov CALLER_DI, offset diskette_table
    xor ah, ah
    ret

/* By kind; rates by kind, up to three, ended by FFh; sectors by rate. */
tracks:       .byte 0, 40, 80, 80, 80, 80, 80
kind_sectors: .byte 0, 9, 15, 9, 18, 36, 36
rates:        .byte 0xFF, 0xFF, 0xFF, 0xFF
              .byte RATE_250, 0xFF, 0xFF, 0xFF
              .byte RATE_500, RATE_300, RATE_250, 0xFF
              .byte RATE_250, 0xFF, 0xFF, 0xFF
              .byte RATE_500, RATE_250, 0xFF, 0xFF
              .byte RATE_1000, RATE_500, RATE_250, 0xFF
              .byte RATE_1000, RATE_500, RATE_250, 0xFF
rate_sectors: .byte 18, 9, 9, 36

change:
    call select
    call changed
    mov ah, 0
    jz 1f
    mov ah, STATUS_CHANGED
1:  ret

/* AH=17h: AL = 1 to 4; whatever it is, the drive finds out. */
set_type:
    and byte ptr ds:[di + BDA_FD_MEDIA], ~MEDIA_KNOWN
    xor ah, ah
    ret
/* AH=18h: CH = last track, CL = sectors. */
set_medium:
    call kind
    movzx bx, al
    mov ah, 0x0C                        // no such medium
    mov al, CALLER_CH
    cmp al, cs:[bx + tracks]
    jae 1f
    mov al, CALLER_CL
    and al, 0x3F
    cmp al, cs:[bx + kind_sectors]
    ja 1f
    mov CALLER_ES, cs
    mov CALLER_DI, offset diskette_table
    xor ah, ah
1:  ret

read:
    mov bl, FDC_READ
    mov bh, DMA_TO_MEMORY
    jmp transfer
write:
    mov bl, FDC_WRITE
    mov bh, DMA_FROM_MEMORY
    jmp transfer
verify:
    mov bl, FDC_READ
    mov bh, DMA_VERIFY
transfer:
    xor cl, cl
    xchg cl, CALLER_AL                  // done: none yet
    push cx
    mov ah, DISK_BAD_COMMAND
    test cl, cl
    jz 8f
    cmp cl, 128
    ja 8f
    movzx ecx, cl
    shl ecx, 9
    call ready
    jc 8f
    call seek
    jc 8f
    call dma_set
    jc 8f
    call sectors                        // CL = sectors on a track
    mov al, bl
    call send
    jc 8f
    call send_unit
    mov al, CALLER_CH
    call send
    mov al, CALLER_DH
    call send
    mov al, CALLER_CL
    call send
    mov al, 2                           // 512 bytes
    call send
    mov al, cl
    cmp al, CALLER_CL
    jae 1f
    mov al, CALLER_CL
1:  call send
    call table
    mov al, es:[si + TABLE_GAP]
    call send
    mov al, 0xFF
    call send
    jc 8f
    call result
    jc 8f
    pop cx
    mov CALLER_AL, cl
    xor ah, ah
    ret
8:  pop cx
    ret

format:
    mov bl, FDC_FORMAT
    mov bh, DMA_FROM_MEMORY
    call ready
    jc 9f
    call seek
    jc 9f
    call sectors
    push cx
    movzx ecx, cl
    shl ecx, 2                          // four bytes a sector
    call dma_set
    pop cx
    jc 9f
    mov al, bl
    call send
    jc 9f
    call send_unit
    mov al, 2
    call send
    mov al, cl
    call send
    call table
    mov al, es:[si + TABLE_FORMAT]
    call send
    mov al, es:[si + TABLE_FORMAT + 1]
    call send
    jc 9f
    call result
    jc 9f
    xor ah, ah
9:  ret

/* Out: CL = sectors on a track. Clobbers SI. */
sectors:
    push es
    call table
    mov cl, es:[si + TABLE_SECTORS]
    mov ax, es
    pop es
    cmp ax, BIOS_SEG
    jne 1f
    movzx si, byte ptr ds:[di + BDA_FD_MEDIA]
    shr si, 6
    mov cl, cs:[si + rate_sectors]
    cmp si, RATE_500
    jne 1f
    call kind
    cmp al, 2
    jne 1f
    mov cl, 15                          // 1.2 MB
1:  ret

/* Selects the drive and has its motor run. Clobbers AX, CX, DX. */
select:
    mov byte ptr ds:[BDA_FD_TIMEOUT], 0 // not while it works
    mov cx, di
    mov al, 1
    shl al, cl
    test ds:[BDA_FD_MOTOR], al
    pushf
    or ds:[BDA_FD_MOTOR], al
    mov al, ds:[BDA_FD_MOTOR]
    shl al, 4
    or al, cl
    or al, DOR_ENABLE
    mov dx, FDC_DOR
    out dx, al
    popf
    jnz 2f
    mov cx, SPIN_UP
1:  mov al, ds:[BDA_TICKS]
3:  sti
    hlt
    cmp al, ds:[BDA_TICKS]
    je 3b
    loop 1b
2:  push es
    push si
    call table
    mov al, es:[si + TABLE_MOTOR_OFF]
    pop si
    pop es
    mov ds:[BDA_FD_TIMEOUT], al
    ret

/* Out: ES:SI = diskette parameter table. */
table:
    xor si, si
    mov es, si
    les si, es:[0x1E * 4]
    ret

/* Out: ZF clear when the diskette was changed. Clobbers AL, DX. */
changed:
    mov dx, FDC_DIR
    in al, dx
    test al, 0x80
    ret

/* Has the motor run and finds out what is in the drive. Out: CF and AH. Clobbers EAX, EDX, SI. */
ready:
    push ecx
    push bx
    call select
    call changed
    jz 1f
    mov al, ds:[di + BDA_FD_MEDIA]
    and byte ptr ds:[di + BDA_FD_MEDIA], ~MEDIA_KNOWN & 0xFF
    push ax
    mov al, FDC_SEEK                    // steps take the signal back, if there is a diskette
    call send
    mov ax, di
    call send
    mov al, 1
    call send
    call seek_end
    call recalibrate
    call changed
    pop ax
    jz 2f
    mov ah, DISK_TIMED_OUT
    stc
    jmp 9f
2:  test al, MEDIA_KNOWN
    jz 1f
    mov ah, STATUS_CHANGED
    stc
    jmp 9f
1:  test byte ptr ds:[di + BDA_FD_MEDIA], MEDIA_KNOWN
    jnz 7f
    call kind
    movzx bx, al
    shl bx, 2
    add bx, offset rates
4:  mov al, cs:[bx]
    mov ah, DISK_TIMED_OUT
    cmp al, 0xFF
    stc
    je 9f
    mov dx, FDC_DIR
    out dx, al
    call recalibrate
    jc 9f
    mov al, FDC_READ_ID
    call send
    jc 9f
    mov ax, di
    call send                           // head 0
    call result
    jnc 3f
    cmp ah, DISK_TIMED_OUT
    stc
    je 9f
    inc bx
    jmp 4b
3:  mov al, cs:[bx]
    shl al, 6
    or al, MEDIA_KNOWN | 7
    mov ds:[di + BDA_FD_MEDIA], al
7:  mov al, ds:[di + BDA_FD_MEDIA]
    shr al, 6
    mov dx, FDC_DIR
    out dx, al
    clc
9:  pop bx
    pop ecx
    ret

/* Out: CF and AH. Clobbers EAX, EDX. */
recalibrate:
    mov byte ptr ds:[di + BDA_FD_TRACK], 0
    call 1f
    jnc 2f
1:  and byte ptr ds:[BDA_FD_SEEK], 0x7F // a second time from beyond track 77
    mov al, FDC_RECALIBRATE
    call send
    jc 2f
    mov ax, di
    call send
    call seek_end
2:  ret

/* To the caller's track. Out: CF and AH. Clobbers EAX, EDX. */
seek:
    mov al, CALLER_CH
    cmp al, ds:[di + BDA_FD_TRACK]
    je 1f
    mov ds:[di + BDA_FD_TRACK], al
    and byte ptr ds:[BDA_FD_SEEK], 0x7F
    mov al, FDC_SEEK
    call send
    jc 2f
    call send_unit
    mov al, CALLER_CH
    call send
    call seek_end
    jnc 2f
    mov byte ptr ds:[di + BDA_FD_TRACK], 0xFF
    mov ah, DISK_FAILED
    stc
    ret
1:  clc
2:  ret

/* The interrupt after a seek, and its cause. Out: CF and AH. */
seek_end:
    call wait_interrupt
    jc 9f
    mov al, FDC_SENSE
    call send
    jc 9f
    call receive
    jc 9f
    mov ah, al
    call receive
    jc 9f
    and ah, 0xE0
    cmp ah, 0x20                        // seek end, and nothing else
    je 9f
    mov ah, DISK_FAILED
    stc
9:  ret

/* Drive and head. */
send_unit:
    mov al, CALLER_DH
    and al, 1
    shl al, 2
    or ax, di
/* Sends AL to the controller, and forgets of an earlier interrupt. Out: CF and AH. Clobbers AL. */
send:
    push dx
    push ecx
    push ax
    and byte ptr ds:[BDA_FD_SEEK], 0x7F
    mov ah, MSR_RQM
    call wait_master
    pop ax
    jc 1f
    mov dx, FDC_DATA
    out dx, al
1:  pop ecx
    pop dx
    mov ah, DISK_TIMED_OUT              // if CF
    ret

/* Out: AL; CF and AH. */
receive:
    push dx
    push ecx
    push ax
    mov ah, MSR_RQM | MSR_DIO
    call wait_master
    pop ax
    jc 1f
    mov dx, FDC_DATA
    in al, dx
    pop ecx
    pop dx
    ret
1:  pop ecx
    pop dx
    mov ah, DISK_TIMED_OUT
    ret

/* Waits until RQM and DIO are as in AH. Out: CF when in vain. Clobbers EAX, ECX, EDX. */
wait_master:
    push bx
    mov bl, ah
    mov ecx, LIMIT_BYTE
    call limit_start
1:  push dx
    mov dx, FDC_MSR
    in al, dx
    pop dx
    and al, MSR_RQM | MSR_DIO
    cmp al, bl
    je 2f
    call limit_passed
    jnc 1b
2:  pop bx
    ret

/* Waits for IRQ 6. Out: CF and AH. Clobbers EAX. */
wait_interrupt:
    push ecx
    push edx
    mov ecx, LIMIT_FLOPPY
    call limit_start
1:  test byte ptr ds:[BDA_FD_SEEK], 0x80
    jnz 2f                              // CF is clear
    call limit_passed
    jnc 1b
    call controller_reset
    mov ah, DISK_TIMED_OUT
    stc
2:  pop edx
    pop ecx
    ret

/* The seven result bytes of a transfer. Out: CF and AH. Clobbers EAX. */
result:
    call wait_interrupt
    jc 9f
    push si
    push cx
    xor si, si
    mov cx, 7
1:  call receive
    jc 8f
    mov ds:[si + BDA_FD_RESULT], al
    inc si
    loop 1b
    mov al, ds:[BDA_FD_RESULT]
    test al, 0xC0
    jz 8f
    mov si, offset causes
    mov al, ds:[BDA_FD_RESULT + 1]      // ST1
2:  mov ah, cs:[si + 1]
    test al, cs:[si]
    jnz 3f
    add si, 2
    cmp si, offset causes_end
    jb 2b
    mov ah, DISK_CONTROLLER
3:  stc
8:  pop cx
    pop si
9:  ret

causes:
    .byte 0x02, DISK_WRITE_PROTECT      // NW
    .byte 0x20, DISK_CRC                // DE
    .byte 0x10, STATUS_OVERRUN          // OR
    .byte 0x04, DISK_NO_SECTOR          // ND
    .byte 0x80, DISK_NO_SECTOR          // EN
    .byte 0x01, STATUS_NO_MARK          // MA
causes_end:

/* Channel 2 for ECX bytes at the caller's ES:BX. In: BH = mode. Out: CF and AH. Clobbers EAX, EDX. */
dma_set:
    push ecx
    movzx eax, CALLER_ES
    shl eax, 4
    movzx edx, CALLER_BX
    add eax, edx
    dec ecx
    movzx edx, ax
    add edx, ecx
    test edx, 0xFFFF0000
    jnz 8f
    push eax
    PORT_OUT DMA_MASK, 0x06
    out DMA_FLIP_FLOP, al
    mov al, bh
    out DMA_MODE, al
    pop eax
    out DMA_ADDRESS2, al
    mov al, ah
    out DMA_ADDRESS2, al
    shr eax, 16
    out DMA_PAGE2, al
    mov al, cl
    out DMA_COUNT2, al
    mov al, ch
    out DMA_COUNT2, al
    PORT_OUT DMA_MASK, 0x02
    pop ecx
    clc
    ret
8:  pop ecx
    mov ah, STATUS_BOUNDARY
    stc
    ret

/* Resets the controller; what is in the drives has to be found out again. Out: CF and AH. Clobbers EAX, EDX. */
controller_reset:
    push ecx
    push dx
    and byte ptr ds:[BDA_FD_SEEK], 0x70
    and byte ptr ds:[BDA_FD_MEDIA], ~MEDIA_KNOWN & 0xFF
    and byte ptr ds:[BDA_FD_MEDIA + 1], ~MEDIA_KNOWN & 0xFF
    mov al, ds:[BDA_FD_MOTOR]
    shl al, 4
    or al, DOR_ENABLE & ~4
    mov dx, FDC_DOR
    out dx, al
    push ax
    mov eax, 20
    call wait_microseconds
    pop ax
    mov dx, FDC_DOR
    or al, DOR_ENABLE
    out dx, al
    mov ecx, LIMIT_BYTE
    call limit_start
1:  test byte ptr ds:[BDA_FD_SEEK], 0x80
    jnz 2f
    call limit_passed
    jnc 1b
    mov ah, DISK_TIMED_OUT
    jmp 9f
2:  mov cx, 4                           // each drive's ready line has changed
3:  mov al, FDC_SENSE
    call send
    jc 9f
    call receive
    jc 9f
    call receive
    jc 9f
    loop 3b
    mov al, FDC_SPECIFY
    call send
    mov al, cs:[diskette_table]
    call send
    mov al, cs:[diskette_table + 1]
    call send
    jc 9f
    xor ah, ah
9:  pop dx
    pop ecx
    ret

/* Vector 1Eh: step rate and head unload, head load and DMA, motor off after ticks, bytes in a sector (2: 512), sectors,
 * gap, data length, gap and byte for formatting, head settle in ms, spin-up in 1/8 s. */
diskette_table:
    .byte 0xDF, 0x02, 0x25, 0x02, 18, 0x1B, 0xFF, 0x6C, 0xF6, 0x0F, 0x08
