/* INT 13h: hard disks by cylinder, head and sector. DL = 80h and up; EDD (AH=41h on) is in edd.S, diskettes are in
 * floppy.S, the CD-ROM drive and boot images in eltorito.S.
 *
 * Out, always: CF clear and AH = 0, or CF set and AH = status (disk.inc), which AH=01h tells again.
 * AH=00h, 0Dh reset            AH=01h last status (in AH)
 * AH=02h read AL sectors from CH, CL (cylinder 7:0; 9:8 and sector), DH (head) to ES:BX: AL = done
 * AH=03h write, AH=04h verify: the same
 * AH=08h parameters: CH, CL, DH = highest, DL = disks
 * AH=09h set up, 0Ch seek, 10h ready, 11h recalibrate, 14h self-test: good when the drive is there
 * AH=15h type: AH = 3, CX:DX = sectors; AH = 0 and CF clear when there is no such drive
 * A disk that is not there answers 01h.
 * Left out: formatting, AH=0Ah and 0Bh (long sectors).
 */
#include "common.inc"
#include "disk.inc"

#define FUNCTIONS 0x16

    .global int13
int13:
    BEGIN_SERVICE
    sti
    push EBDA_SEG
    pop fs
    mov al, dl
    cmp al, CD_NUMBER
    jne 1f
    cmp word ptr fs:[EBDA_CD + DRIVE_IO], 0
    je 1f
    call int13_cdrom
    jmp finish
1:  mov bl, ds:[BDA_DISK_COUNT]
    cmp byte ptr fs:[EBDA_EMULATION], 0
    je 3f
    mov bh, fs:[EBDA_EMU_NUMBER]
    cmp al, bh
    jne 2f
    call int13_image
    jmp finish
2:  xor bh, al
    js 3f                               // the other kind of drive
    dec al                              // the image has taken the number before
    test al, al
    jns 3f
    dec bl
3:  test al, al
    jns 4f
    sub al, 0x80
    cmp al, bl
    jae no_disk
    movzx si, al
    shl si, 5                           // DRIVE_SIZE
    add si, EBDA_DRIVES
    cmp ah, 0x41
    jae 5f
    DISPATCH ah, functions, FUNCTIONS, bad_command
    jmp finish
4:  call int13_floppy
    jmp finish
5:  call edd
    jmp finish

no_disk:
    mov ah, DISK_BAD_COMMAND
    cmp CALLER_AH, 0x01
    je 1f
    cmp CALLER_AH, 0x15
    jne finish
    mov CALLER_AH, 0                    // no such drive; this is an answer
    CALLER_CLC
    END_SERVICE
1:  call last_status
    jmp finish
bad_command:
    mov ah, DISK_BAD_COMMAND

/* In: AH = status. */
finish:
    mov ds:[BDA_DISK_STATUS], ah
    mov CALLER_AH, ah
    CALLER_CLC
    test ah, ah
    jz 1f
    CALLER_STC
1:  END_SERVICE

functions:
    .word disk_reset, last_status, read, write, verify, invalid, invalid, invalid
    .word parameters, done, invalid, invalid, seek, disk_reset, invalid, invalid
    .word done, done, invalid, invalid, done, drive_type

done:
    xor ah, ah
    ret
invalid:
    mov ah, DISK_BAD_COMMAND
    ret
last_status:
    mov ah, ds:[BDA_DISK_STATUS]
    ret

read:
    mov al, TRANSFER_READ
    jmp transfer
write:
    mov al, TRANSFER_WRITE
    jmp transfer
verify:
    mov al, TRANSFER_VERIFY
transfer:
    mov fs:[EBDA_OPERATION], al
    call chs_to_lba
    jc 9f
    movzx ax, CALLER_AL
    test ax, ax
    jz invalid
    mov fs:[EBDA_LEFT], ax
    movzx eax, ax
    call check_end
    jc 9f
    mov ax, CALLER_BX
    mov fs:[EBDA_BUFFER], ax
    mov ax, CALLER_ES
    mov fs:[EBDA_BUFFER + 2], ax
    call disk_transfer
    mov al, fs:[EBDA_DONE]
    mov CALLER_AL, al
    ret
9:  mov CALLER_AL, 0
    ret

/* The caller's cylinder, head and sector to EBDA_LBA. Out: CF and AH when they are past the geometry.
 * Clobbers EAX, EBX, ECX, EDX. */
chs_to_lba:
    mov cx, CALLER_CX
    movzx eax, cl
    and cl, 0x3F
    movzx ebx, cl                       // sector
    shl eax, 2
    and ah, 0x03
    mov al, ch                          // cylinder
    movzx edx, CALLER_DH
    cmp ax, fs:[si + DRIVE_CYLS]
    jae 8f
    cmp dx, fs:[si + DRIVE_HEADS]
    jae 8f
    cmp bx, fs:[si + DRIVE_SECTORS]
    ja 8f
    dec bx
    js 8f
    movzx ecx, word ptr fs:[si + DRIVE_HEADS]
    imul eax, ecx
    add eax, edx
    movzx ecx, word ptr fs:[si + DRIVE_SECTORS]
    imul eax, ecx
    add eax, ebx
    mov fs:[EBDA_LBA], eax
    mov dword ptr fs:[EBDA_LBA + 4], 0
    clc
    ret
8:  mov ah, DISK_NO_SECTOR
    stc
    ret

    .global check_end
/* In: EAX = sectors wanted from EBDA_LBA on. Out: CF and AH when the disk ends before. */
check_end:
    push edx
    xor edx, edx
    add eax, fs:[EBDA_LBA]
    adc edx, fs:[EBDA_LBA + 4]
    jc 8f
    cmp fs:[si + DRIVE_TOTAL + 4], edx
    ja 7f
    jb 8f
    cmp fs:[si + DRIVE_TOTAL], eax
    jb 8f
7:  pop edx
    clc
    ret
8:  pop edx
    mov ah, DISK_NO_SECTOR
    stc
    ret

seek:
    call chs_to_lba
    jc 1f
    xor ah, ah
1:  ret

parameters:
    mov cx, fs:[si + DRIVE_CYLS]
    dec cx
    xchg ch, cl
    shl cl, 6
    or cl, fs:[si + DRIVE_SECTORS]
    mov CALLER_CX, cx
    mov ax, fs:[si + DRIVE_HEADS]
    dec ax
    mov CALLER_DH, al
    mov al, ds:[BDA_DISK_COUNT]
    mov CALLER_DL, al
    mov CALLER_AL, 0
    xor ah, ah
    ret

/* AH is the answer here, not a status. */
drive_type:
    movzx eax, word ptr fs:[si + DRIVE_CYLS]
    movzx ecx, word ptr fs:[si + DRIVE_HEADS]
    imul eax, ecx
    movzx ecx, word ptr fs:[si + DRIVE_SECTORS]
    imul eax, ecx
    mov CALLER_DX, ax
    shr eax, 16
    mov CALLER_CX, ax
    mov CALLER_AH, 3
    mov byte ptr ds:[BDA_DISK_STATUS], 0
    CALLER_CLC
    END_SERVICE
