/* INT 13h on a disk of 200 GiB, drive 81h: addresses beyond 28 bits. tests/services.rs numbered some sectors. */
#include "test.inc"

#define BUFFER 0x4000

main:
    EXPECT_EQUAL(byte ptr ds:[0x475], 2, "two disks; the CD-ROM is none")
    mov dword ptr [lba], 0x10000005
    mov ax, 0x4200
    call packet_81
    EXPECT nc, "a sector beyond 2^28"
    EXPECT_EQUAL(dword ptr ds:[BUFFER], 0x10000005, "... is that sector")

/* 16 sectors around the last one that 28 bits reach. */
    mov dword ptr [lba], 0x0FFFFFF8
    mov word ptr [count], 16
    mov ax, 0x4200
    call packet_81
    EXPECT nc, "sectors across 2^28"
    xor bx, bx
    mov eax, 0x0FFFFFF8
1:  cmp [BUFFER + bx], eax
    jne 2f
    inc eax
    add bx, 512
    cmp bx, 16 * 512
    jb 1b
2:  EXPECT z, "... all in order"

    mov di, BUFFER
    mov cx, 256
    mov ax, 0xBEEF
    rep stosw
    mov dword ptr [lba], 0x10000007
    mov word ptr [count], 1
    mov ax, 0x4300
    call packet_81
    EXPECT nc, "a write beyond 2^28"
    mov word ptr [BUFFER], 0
    mov ax, 0x4200
    call packet_81
    EXPECT_EQUAL(word ptr ds:[BUFFER], 0xBEEF, "... reads back")

/* A transfer that the disk refuses half-way: the test makes sector 1000h + 5 unreadable. */
    mov dword ptr [lba], 0x1000
    mov word ptr [count], 8
    mov ax, 0x4200
    call packet_81
    EXPECT c, "a bad sector fails"
    test ah, ah
    EXPECT nz, "... with a status"
    cmp word ptr [count], 8
    EXPECT b, "... and not all done"
    mov dword ptr [lba], 0x1010
    mov word ptr [count], 1
    mov ax, 0x4200
    call packet_81
    EXPECT nc, "the next command works again"
    jmp finish

packet_81:
    mov dl, 0x81
    mov si, offset packet
    int 0x13
    ret

    .balign 4
packet: .word 16
count:  .word 1
        .word BUFFER, 0
lba:    .quad 0
