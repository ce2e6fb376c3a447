/* INT 13h on the CD-ROM drive, and on the drive that a boot image on the disc stands for.
 *
 * El Torito 1.0, "INT 13 Function 4A-4D"; Enhanced Disk Drive specification 3.0, "Removable media".
 * The CD-ROM drive is E0h, with blocks of 2048 bytes: AH=00h, 01h, 41h, 42h, 44h, 45h, 46h, 47h, 48h, 4Bh.
 * A boot image is drive 00h or 80h, with sectors of 512: AH=00h, 01h, 02h, 04h, 08h, 0Ch, 10h, 15h, 16h, 4Bh; the
 * real drives of its kind are one number higher then. Writing answers 03h, write protected.
 * Left out: AH=4Ah and 4Dh (other images, the catalogue), 4Ch (boot again); EDD on a boot image; AH=49h.
 */
#include "common.inc"
#include "disk.inc"

#define PACKET_SIZE    0
#define PACKET_COUNT   2
#define PACKET_BUFFER  4
#define PACKET_LBA     8
#define RESULT_V1      26

#define START_STOP     0x1B
#define PREVENT_ALLOW  0x1E
#define EJECT          2

    .global int13_cdrom, int13_image, int13_emulation, emulation_end

/* In: AH = function, FS = EBDA, DS = BIOS data area. Out: AH = status, for all of them. */
int13_cdrom:
    mov si, EBDA_CD
    cmp ah, 0x00
    je good
    cmp ah, 0x01
    je last_status
    cmp ah, 0x0D
    je good
    cmp ah, 0x10
    je ready
    cmp ah, 0x15
    je cd_type
    sub ah, 0x41
    movzx bx, ah
    cmp bx, 11
    jae invalid
    mov es, CALLER_DS
    mov di, CALLER_SI
    shl bx, 1
    jmp word ptr cs:[bx + functions]

functions: .word present, read, invalid, verify, lock, eject, verify, parameters, changed, invalid, int13_emulation

invalid:
    mov ah, DISK_BAD_COMMAND
    ret
good:
changed:
    xor ah, ah
    ret
last_status:
    mov ah, ds:[BDA_DISK_STATUS]
    ret
ready:
    xor ax, ax                          // TEST UNIT READY
    jmp cd_simple

present:
    cmp CALLER_BX, 0x55AA
    jne invalid
    mov CALLER_BX, 0xAA55
    mov CALLER_CX, 0x0007               // packets, removable media, parameters
    mov al, 0x30
    jmp answer_in_ah
cd_type:
    mov al, 2                           // a diskette-like drive that can tell of a change
/* An answer where a status would be. In: AL. */
answer_in_ah:
    mov byte ptr ds:[BDA_DISK_STATUS], 0
    mov CALLER_AH, al
    CALLER_CLC
    END_SERVICE

read:
    call take_packet
    jc 9f
    mov ecx, es:[di + PACKET_BUFFER]
    mov fs:[EBDA_BUFFER], ecx
    push es
    push di
    call cd_read
    pop di
    pop es
    mov cx, fs:[EBDA_DONE]
    shr cx, 2
    mov es:[di + PACKET_COUNT], cx
9:  ret
verify:
    call take_packet
    jc 9b
    xor ah, ah
    ret

/* Out: EBDA_LBA and EBDA_LEFT in sectors, or CF and AH. Clobbers EAX, EDX. */
take_packet:
    mov ah, DISK_BAD_COMMAND
    cmp byte ptr es:[di + PACKET_SIZE], 16
    jb 9f
    mov eax, es:[di + PACKET_LBA]
    mov edx, es:[di + PACKET_LBA + 4]
    cmp eax, 1 << 30
    jae 8f
    test edx, edx
    jnz 8f
    shl eax, 2
    mov fs:[EBDA_LBA], eax
    mov dword ptr fs:[EBDA_LBA + 4], 0
    movzx eax, word ptr es:[di + PACKET_COUNT]
    cmp ax, 0x4000
    jae 8f
    shl ax, 2
    mov fs:[EBDA_LEFT], ax
    call check_end
    jnc 9f
8:  mov word ptr es:[di + PACKET_COUNT], 0
    mov ah, DISK_NO_SECTOR
    stc
9:  ret

/* AL = 0 locks the disc in, 1 lets it go, 2 tells: AL = 0 or 1. */
lock:
    mov al, CALLER_AL
    cmp al, 2
    ja invalid
    je 1f
    mov ah, 1
    sub ah, al
    mov fs:[EBDA_CD + DRIVE_FLAGS], ah
    mov al, PREVENT_ALLOW
    jmp cd_simple
1:  mov al, fs:[EBDA_CD + DRIVE_FLAGS]
    mov CALLER_AL, al
    xor ah, ah
    ret
eject:
    mov ah, DISK_LOCKED
    cmp byte ptr fs:[EBDA_CD + DRIVE_FLAGS], 0
    jne 9b
    mov ax, EJECT << 8 | START_STOP
    jmp cd_simple

parameters:
    cmp word ptr es:[di], RESULT_V1
    jb invalid
    mov word ptr es:[di], RESULT_V1
    mov word ptr es:[di + 2], 0x0074    // removable, change line, lockable, no geometry
    mov eax, -1
    mov es:[di + 4], eax
    mov es:[di + 8], eax
    mov es:[di + 12], eax
    mov eax, fs:[EBDA_CD + DRIVE_TOTAL]
    mov edx, fs:[EBDA_CD + DRIVE_TOTAL + 4]
    shrd eax, edx, 2
    shr edx, 2
    mov es:[di + 16], eax
    mov es:[di + 20], edx
    mov word ptr es:[di + 24], 2048
    xor ah, ah
    ret

/* AH=4Bh: AL = 0 ends the emulation, AL = 1 only tells. DS:SI = 13h bytes of what was booted. */
int13_emulation:
    mov es, CALLER_DS
    mov di, CALLER_SI
    cmp byte ptr fs:[EBDA_EMU_BOOTED], 0
    je invalid
    mov byte ptr es:[di], 0x13
    mov al, fs:[EBDA_EMU_MEDIA]
    mov es:[di + 1], al
    mov al, fs:[EBDA_EMU_NUMBER]
    mov es:[di + 2], al
    mov al, fs:[EBDA_CD + DRIVE_UNIT]
    mov ah, al
    shr al, 1
    and ah, 1
    mov es:[di + 3], al                 // controller, then its device
    mov al, ah
    xor ah, ah
    mov es:[di + 8], ax
    mov eax, fs:[EBDA_EMU_BLOCK]
    mov es:[di + 4], eax
    mov word ptr es:[di + 10], 0
    mov eax, fs:[EBDA_EMU_LOAD]
    mov es:[di + 12], eax
    mov ax, fs:[EBDA_EMU_CYLS]
    test ax, ax
    jz 1f
    dec ax
1:  mov es:[di + 16], al
    shl ah, 6
    or ah, fs:[EBDA_EMU_SECS]
    mov es:[di + 17], ah
    mov al, fs:[EBDA_EMU_HEADS]
    test al, al
    jz 2f
    dec al
2:  mov es:[di + 18], al
    cmp CALLER_AL, 0
    jne 3f
    call emulation_end
3:  xor ah, ah
    ret

/* The image is a drive no longer. In: FS = EBDA, DS = BIOS data area. Clobbers AX, CX. */
emulation_end:
    xor al, al
    xchg al, fs:[EBDA_EMULATION]
    test al, al
    jz 2f
    cmp al, 4
    jb 1f
    dec byte ptr ds:[BDA_DISK_COUNT]
    ret
1:  call diskettes
    dec al
    call diskettes_set
2:  ret

/* INT 13h on the boot image. */
int13_image:
    mov si, offset image_functions
1:  cmp ah, cs:[si]
    je 2f
    add si, 3
    cmp si, offset image_functions_end
    jb 1b
    jmp invalid
2:  jmp word ptr cs:[si + 1]

.macro IMAGE function, handler
    .byte \function
    .word \handler
.endm
image_functions:
    IMAGE 0x00, good
    IMAGE 0x01, last_status
    IMAGE 0x02, image_read
    IMAGE 0x03, image_write
    IMAGE 0x04, image_verify
    IMAGE 0x05, image_write
    IMAGE 0x08, image_parameters
    IMAGE 0x0C, good
    IMAGE 0x0D, good
    IMAGE 0x10, good
    IMAGE 0x11, good
    IMAGE 0x15, image_type
    IMAGE 0x16, changed
    IMAGE 0x4B, int13_emulation
image_functions_end:

image_write:
    mov CALLER_AL, 0
    mov ah, DISK_WRITE_PROTECT
    ret

image_verify:
    call image_address
    jc 9f
    xor ah, ah
    ret
image_read:
    call image_address
    jc 9f
    mov ax, CALLER_BX
    mov fs:[EBDA_BUFFER], ax
    mov ax, CALLER_ES
    mov fs:[EBDA_BUFFER + 2], ax
    call cd_read
    mov al, fs:[EBDA_DONE]
    mov CALLER_AL, al
    ret
9:  mov CALLER_AL, 0
    ret

/* The caller's cylinder, head, sector and count to EBDA_LBA and EBDA_LEFT, or CF and AH. Clobbers EAX, EBX, ECX. */
image_address:
    mov cx, CALLER_CX
    movzx eax, cl
    movzx ebx, cl
    and bl, 0x3F
    shl eax, 2
    and ah, 3
    mov al, ch                          // cylinder
    cmp ax, fs:[EBDA_EMU_CYLS]
    jae 8f
    mov cl, CALLER_DH
    cmp cl, fs:[EBDA_EMU_HEADS]
    jae 8f
    cmp bl, fs:[EBDA_EMU_SECS]
    ja 8f
    dec bl
    js 8f
    movzx ecx, byte ptr fs:[EBDA_EMU_HEADS]
    imul eax, ecx
    movzx ecx, CALLER_DH
    add eax, ecx
    movzx ecx, byte ptr fs:[EBDA_EMU_SECS]
    imul eax, ecx
    add eax, ebx
    mov ecx, fs:[EBDA_EMU_BLOCK]
    shl ecx, 2
    add eax, ecx
    mov fs:[EBDA_LBA], eax
    mov dword ptr fs:[EBDA_LBA + 4], 0
    movzx ax, CALLER_AL
    mov fs:[EBDA_LEFT], ax
    test ax, ax
    mov ah, DISK_BAD_COMMAND
    jz 9f
    clc
    ret
8:  mov ah, DISK_NO_SECTOR
9:  stc
    ret

image_parameters:
    mov ax, fs:[EBDA_EMU_CYLS]
    dec ax
    xchg ah, al
    shl al, 6
    or al, fs:[EBDA_EMU_SECS]
    mov CALLER_CX, ax
    mov al, fs:[EBDA_EMU_HEADS]
    dec al
    mov CALLER_DH, al
    mov CALLER_AL, 0
    cmp byte ptr fs:[EBDA_EMULATION], 4
    mov al, ds:[BDA_DISK_COUNT]
    je 1f
    movzx bx, byte ptr fs:[EBDA_EMULATION]
    mov al, cs:[bx + drive_types - 1]
    mov CALLER_BX, bx
    mov CALLER_BL, al
    mov CALLER_ES, cs
    mov CALLER_DI, offset diskette_table
    call diskettes                      // AL = how many
1:  mov CALLER_DL, al
    xor ah, ah
    ret

drive_types: .byte 2, 4, 6              // 1.2, 1.44, 2.88 MB

image_type:
    mov al, 1                           // a diskette drive that cannot tell of a change
    cmp byte ptr fs:[EBDA_EMULATION], 4
    jb answer_in_ah
    movzx eax, word ptr fs:[EBDA_EMU_CYLS]
    movzx ecx, byte ptr fs:[EBDA_EMU_HEADS]
    imul eax, ecx
    movzx ecx, byte ptr fs:[EBDA_EMU_SECS]
    imul eax, ecx
    mov CALLER_DX, ax
    shr eax, 16
    mov CALLER_CX, ax
    mov al, 3
    jmp answer_in_ah
