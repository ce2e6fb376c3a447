/* INT 13h AH=41h-48h: disks by logical block address (Enhanced Disk Drive specification 3.0).
 *
 * AH=41h with BX=55AAh: BX=AA55h, AH=30h, CX=5 (packet functions, drive parameters)
 * AH=42h read, 43h write, 44h verify, 47h seek by the packet at DS:SI:
 *        +0 size (16 or more), +2 blocks, +4 buffer (offset, segment), +8 LBA (qword).
 *        The packet's block count becomes what was done.
 * AH=48h parameters into DS:SI, of 26, 30 or 66 bytes as its first word allows
 * Left out: removable media (45h, 46h, 49h), flat buffer addresses above 1 MiB.
 */
#include "common.inc"
#include "disk.inc"

#define PACKET_SIZE    0
#define PACKET_COUNT   2
#define PACKET_BUFFER  4
#define PACKET_LBA     8

#define RESULT_V1      26
#define RESULT_V2      30
#define RESULT_V3      66
#define PATH_SIZE      36               /* of the device path, from 1Eh */

    .global edd

/* In: FS:SI = drive, AH = function. Out: AH = status. */
edd:
    sub ah, 0x41
    mov es, CALLER_DS
    mov di, CALLER_SI
    movzx bx, ah
    cmp bx, 8
    jae invalid
    shl bx, 1
    jmp word ptr cs:[bx + functions]

functions: .word present, read, write, verify, invalid, invalid, seek, parameters

invalid:
    mov ah, DISK_BAD_COMMAND
    ret

present:
    cmp CALLER_BX, 0x55AA
    jne invalid
    mov CALLER_BX, 0xAA55
    mov CALLER_CX, 0x0005
    mov byte ptr ds:[BDA_DISK_STATUS], 0
    mov CALLER_AH, 0x30                 // version, where a status would be
    CALLER_CLC
    END_SERVICE

read:
    mov al, TRANSFER_READ
    jmp transfer
write:
    mov al, TRANSFER_WRITE
    jmp transfer
verify:
    mov al, TRANSFER_VERIFY
transfer:
    call take_packet
    jc 9f
    mov ecx, es:[di + PACKET_BUFFER]
    mov fs:[EBDA_BUFFER], ecx
    cmp ecx, -1                         // a flat address follows
    je invalid
    push es
    push di
    call disk_transfer
    pop di
    pop es
    mov cx, fs:[EBDA_DONE]
    mov es:[di + PACKET_COUNT], cx
9:  ret

seek:
    call take_packet
    jc 1f
    xor ah, ah
1:  ret

/* In: AL = operation. Out: EBDA_LBA, EBDA_LEFT and EBDA_OPERATION set, or CF and AH. Clobbers EAX. */
take_packet:
    mov fs:[EBDA_OPERATION], al
    mov ah, DISK_BAD_COMMAND
    cmp byte ptr es:[di + PACKET_SIZE], 16
    jb 9f
    mov eax, es:[di + PACKET_LBA]
    mov fs:[EBDA_LBA], eax
    mov eax, es:[di + PACKET_LBA + 4]
    mov fs:[EBDA_LBA + 4], eax
    movzx eax, word ptr es:[di + PACKET_COUNT]
    mov fs:[EBDA_LEFT], ax
    call check_end
    jnc 9f
    mov word ptr es:[di + PACKET_COUNT], 0
    stc
9:  ret

parameters:
    mov cx, es:[di]
    cmp cx, RESULT_V1
    jb invalid
    mov ax, RESULT_V1
    cmp cx, RESULT_V2
    jb 1f
    mov ax, RESULT_V2
    cmp cx, RESULT_V3
    jb 1f
    mov ax, RESULT_V3
1:  mov es:[di], ax
    mov bx, ax                          // what we fill in
    mov word ptr es:[di + 2], 0x0003    // 64 KiB boundaries are no matter; the geometry is valid
    movzx eax, word ptr fs:[si + DRIVE_PCYLS]
    mov es:[di + 4], eax
    movzx eax, byte ptr fs:[si + DRIVE_PHEADS]
    mov es:[di + 8], eax
    movzx eax, byte ptr fs:[si + DRIVE_PSECTORS]
    mov es:[di + 12], eax
    mov eax, fs:[si + DRIVE_TOTAL]
    mov es:[di + 16], eax
    mov eax, fs:[si + DRIVE_TOTAL + 4]
    mov es:[di + 20], eax
    mov word ptr es:[di + 24], 512
    cmp bx, RESULT_V2
    jb 9f
    mov ax, si                          // EBDA_DPTE + number * 16
    sub ax, EBDA_DRIVES
    shr ax, 1
    add ax, EBDA_DPTE
    mov es:[di + 26], ax
    mov word ptr es:[di + 28], fs
    cmp bx, RESULT_V3
    jb 9f
    lea bx, [di + 30]
    mov word ptr es:[bx], 0xBEDD
    mov dword ptr es:[bx + 2], PATH_SIZE
    mov dword ptr es:[bx + 6], 0x20494350           // "PCI "
    mov dword ptr es:[bx + 10], 0x20415441          // "ATA "
    mov dword ptr es:[bx + 14], 0x20202020
    mov al, fs:[si + DRIVE_UNIT]
    mov ah, al
    shr al, 1                                       // channel
    and ah, 1                                       // device
    mov dword ptr es:[bx + 18], 0xFF010100          // bus 0, slot 1, function 1
    mov es:[bx + 21], al
    mov dword ptr es:[bx + 22], 0
    movzx eax, ah
    mov es:[bx + 26], eax
    mov dword ptr es:[bx + 30], 0
    mov byte ptr es:[bx + 34], 0
    xor al, al
    mov cx, 35
2:  sub al, es:[bx]
    inc bx
    loop 2b
    mov es:[bx], al                     // the path adds up to zero
9:  xor ah, ah
    ret
