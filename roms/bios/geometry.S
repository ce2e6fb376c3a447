/* What IDENTIFY DEVICE says about a disk, turned into its record, its fixed disk parameter table
 * (vectors 41h and 46h) and its EDD device parameter table extension.
 *
 * Geometry: as the drive has it up to 1024 cylinders; beyond, with 63 sectors and 16 to 255 heads, so
 * that as much as possible lies within 1024 cylinders ("LBA assisted translation").
 */
#include "common.inc"

#define IDENTIFY(word)  EBDA_SECTOR + 2 * word
#define ID_CYLINDERS    IDENTIFY(1)
#define ID_HEADS        IDENTIFY(3)
#define ID_SECTORS      IDENTIFY(6)
#define ID_ABILITIES    IDENTIFY(49)    /* bit 9: LBA */
#define ID_LBA28_TOTAL  IDENTIFY(60)
#define ID_COMMANDS     IDENTIFY(83)    /* bit 10: 48-bit addresses; bits 15:14 = 01 */
#define ID_LBA48_TOTAL  IDENTIFY(100)

#define TABLE_SIZE      16

    .global drive_tables

/* In: FS:SI = record, IDENTIFY data at EBDA_SECTOR, DS = BIOS data area, BDA_DISK_COUNT = its number.
 * Clobbers EAX, ECX, EDX, DI. */
drive_tables:
    push bx
    call capacity
    call logical_geometry
    movzx di, byte ptr ds:[BDA_DISK_COUNT]
    cmp di, 2
    jae 1f
    call parameter_table
1:  call extension_table
    pop bx
    ret

capacity:
    mov ax, fs:[ID_CYLINDERS]
    mov fs:[si + DRIVE_PCYLS], ax
    mov cx, fs:[ID_HEADS]
    mov fs:[si + DRIVE_PHEADS], cl
    mul cx
    push dx
    push ax
    pop eax
    movzx ecx, word ptr fs:[ID_SECTORS]
    mov fs:[si + DRIVE_PSECTORS], cl
    mul ecx
    test word ptr fs:[ID_ABILITIES], 1 << 9
    jz 2f
    or byte ptr fs:[si + DRIVE_FLAGS], DRIVE_HAS_LBA
    mov eax, fs:[ID_LBA28_TOTAL]
    xor edx, edx
    mov cx, fs:[ID_COMMANDS]
    and cx, 0xC400
    cmp cx, 0x4400
    jne 2f
    mov ecx, fs:[ID_LBA48_TOTAL]
    or ecx, fs:[ID_LBA48_TOTAL + 4]
    jz 2f
    or byte ptr fs:[si + DRIVE_FLAGS], DRIVE_HAS_LBA48
    mov eax, fs:[ID_LBA48_TOTAL]
    mov edx, fs:[ID_LBA48_TOTAL + 4]
2:  mov fs:[si + DRIVE_TOTAL], eax
    mov fs:[si + DRIVE_TOTAL + 4], edx
    ret

logical_geometry:
    mov ax, fs:[si + DRIVE_PCYLS]
    movzx cx, byte ptr fs:[si + DRIVE_PHEADS]
    movzx dx, byte ptr fs:[si + DRIVE_PSECTORS]
    test byte ptr fs:[si + DRIVE_FLAGS], DRIVE_HAS_LBA
    jz 4f
    cmp ax, 1024
    ja 1f
    test ax, ax
    jz 1f
    test cx, cx
    jz 1f
    test dx, dx
    jnz 4f
1:  mov cx, 16
    cmp dword ptr fs:[si + DRIVE_TOTAL + 4], 0
    jne 3f
2:  movzx eax, cx
    imul eax, eax, 1024 * 63
    cmp eax, fs:[si + DRIVE_TOTAL]
    jae 5f
    shl cx, 1
    cmp cx, 256
    jb 2b
3:  mov cx, 255
5:  mov dx, 63
    movzx ebx, cx
    imul ebx, ebx, 63
    cmp dword ptr fs:[si + DRIVE_TOTAL + 4], 0
    mov ax, 1024
    jne 4f
    push edx
    mov eax, fs:[si + DRIVE_TOTAL]
    xor edx, edx
    div ebx
    pop edx
    test eax, eax                       // smaller than a cylinder: the drive refuses what it lacks
    jnz 7f
    inc eax
7:  cmp eax, 1024
    jbe 4f
    mov ax, 1024
4:  cmp ax, 1024                        // ten bits are all that CH and CL have
    jbe 6f
    mov ax, 1024
6:  mov fs:[si + DRIVE_CYLS], ax
    mov fs:[si + DRIVE_HEADS], cx
    mov fs:[si + DRIVE_SECTORS], dx
    ret

/* The AT's table, with the drive's own geometry beside the logical one as translating BIOSes have it.
 * In: DI = 0 or 1. */
parameter_table:
    push es
    push di
    imul ax, di, TABLE_SIZE
    add ax, EBDA_FDPT0
    imul bx, di, (0x46 - 0x41) * 4
    mov di, ax
    xor cx, cx
    mov es, cx
    mov es:[bx + 0x41 * 4], di
    mov word ptr es:[bx + 0x41 * 4 + 2], fs
    mov ax, fs:[si + DRIVE_CYLS]
    mov fs:[di], ax
    mov al, fs:[si + DRIVE_HEADS]
    mov fs:[di + 2], al
    mov byte ptr fs:[di + 3], 0xA0      // translated
    mov al, fs:[si + DRIVE_PSECTORS]
    mov fs:[di + 4], al
    mov word ptr fs:[di + 5], 0xFFFF    // no write precompensation
    mov byte ptr fs:[di + 8], 0x08      // more than eight heads
    mov ax, fs:[si + DRIVE_PCYLS]
    mov fs:[di + 9], ax
    mov fs:[di + 12], ax                // landing zone
    mov al, fs:[si + DRIVE_PHEADS]
    mov fs:[di + 11], al
    mov al, fs:[si + DRIVE_SECTORS]
    mov fs:[di + 14], al
    call table_checksum
    pop di
    pop es
    ret

/* EDD-3, "Device Parameter Table Extension". In: DI = number of the disk. */
extension_table:
    imul di, di, TABLE_SIZE
    add di, EBDA_DPTE
    mov ax, fs:[si + DRIVE_IO]
    mov fs:[di], ax
    mov ax, fs:[si + DRIVE_CONTROL]
    mov fs:[di + 2], ax
    mov al, fs:[si + DRIVE_SELECT]
    xor cx, cx
    test byte ptr fs:[si + DRIVE_FLAGS], DRIVE_HAS_LBA
    jz 1f
    or al, 0x40
    mov cx, 1 << 4                      // LBA
    mov bx, fs:[si + DRIVE_PCYLS]
    cmp bx, fs:[si + DRIVE_CYLS]
    je 1f
    or cx, 1 << 3 | 1 << 9              // geometry is translated, LBA assisted
1:  mov fs:[di + 4], al
    mov al, fs:[si + DRIVE_IRQ]
    mov fs:[di + 6], al
    mov fs:[di + 10], cx
    mov byte ptr fs:[di + 14], 0x11     // revision 1.1
/* Makes the bytes of the table at FS:DI add up to zero, by its last one. */
table_checksum:
    xor al, al
    mov cx, TABLE_SIZE - 1
1:  sub al, fs:[di]
    inc di
    loop 1b
    mov fs:[di], al
    ret
