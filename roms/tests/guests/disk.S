/* INT 13h. Drive 80h is this test's own disk (16 MiB), 81h has 100 MiB, 82h 9 GiB, all with sector
 * contents as tests/services.rs wrote them; there is no 83h. */
#include "test.inc"

#define BUFFER  0x4000
#define BUFFER2 0x5000

main:
    EXPECT_EQUAL(byte ptr ds:[boot_drive], 0x80, "booted from 80h")
    EXPECT_EQUAL(byte ptr ds:[0x475], 3, "three disks")

/* EDD presence, geometry. */
    mov ah, 0x41
    mov bx, 0x55AA
    mov dl, 0x81
    int 0x13
    EXPECT nc, "EDD is there"
    EXPECT_EQUAL(bx, 0xAA55, "EDD signature")
    EXPECT_EQUAL(ah, 0x30, "EDD 3.0")
    test cl, 1
    EXPECT nz, "EDD packet functions"

    mov ah, 0x08
    mov dl, 0x81
    int 0x13
    EXPECT nc, "geometry"
    EXPECT_EQUAL(dl, 3, "geometry counts the disks")
    EXPECT_EQUAL(dh, 15, "16 heads")
    mov al, cl
    and al, 0x3F
    EXPECT_EQUAL(al, 63, "63 sectors")
    shr cl, 6
    xchg cl, ch
    EXPECT_EQUAL(cx, 202, "203 cylinders")

    mov ah, 0x08
    mov dl, 0x82
    int 0x13
    EXPECT_EQUAL(dh, 254, "a big disk has 255 heads")
    EXPECT_EQUAL(cx, 0xFFFF, "... and 1024 cylinders of 63 sectors")

    mov word ptr [BUFFER], 66
    mov si, BUFFER
    mov ah, 0x48
    mov dl, 0x82
    int 0x13
    EXPECT nc, "EDD parameters"
    EXPECT_EQUAL(dword ptr ds:[BUFFER + 16], 9 << 21, "EDD counts 9 GiB of sectors")
    EXPECT_EQUAL(dword ptr ds:[BUFFER + 20], 0, "... in 64 bits")
    EXPECT_EQUAL(word ptr ds:[BUFFER + 24], 512, "EDD sector size")
    EXPECT_EQUAL(word ptr ds:[BUFFER + 30], 0xBEDD, "EDD path")
    xor al, al
    mov si, BUFFER + 30
    mov cx, 36
1:  add al, [si]
    inc si
    loop 1b
    EXPECT_EQUAL(al, 0, "EDD path adds up to zero")

/* Cylinder 1, head 2, sector 3 of 81h is LBA (1 * 16 + 2) * 63 + 2 = 1136. */
    mov ax, 0x0201
    mov cx, 0x0103
    mov dx, 0x0281
    mov bx, BUFFER
    int 0x13
    EXPECT nc, "CHS read"
    EXPECT_EQUAL(ax, 1, "CHS read one sector, status 0")
    EXPECT_EQUAL(dword ptr ds:[BUFFER], 1136, "CHS read the right sector")
    EXPECT_EQUAL(dword ptr ds:[BUFFER + 508], ~1136, "... to its end")

/* 128 sectors over a buffer that crosses a 64 KiB boundary. */
    mov ax, 0x2F00
    mov es, ax
    mov ax, 0x0280
    mov cx, 0x0001
    mov dx, 0x0081
    mov bx, 0xFF80
    int 0x13
    EXPECT nc, "64 KiB across a boundary"
    EXPECT_EQUAL(ax, 0x80, "... 128 sectors")
    mov ax, 0x3EF8                          // 2F00:FF80
    xor ecx, ecx
2:  mov es, ax
    cmp es:[0], ecx
    jne 3f
    add ax, 0x20
    inc cx
    cmp cx, 128
    jb 2b
3:  EXPECT z, "... all in their places"
    xor ax, ax
    mov es, ax

/* EDD read near the end of 9 GiB; a read past it fails. */
    mov dword ptr [packet_lba], (9 << 21) - 1
    mov ah, 0x42
    call packet_82
    EXPECT nc, "EDD read of the last sector"
    EXPECT_EQUAL(dword ptr ds:[BUFFER], (9 << 21) - 1, "... is the last sector")
    EXPECT_EQUAL(word ptr ds:[packet_count], 1, "... counted")
    mov word ptr [packet_count], 2
    mov ah, 0x42
    call packet_82
    EXPECT c, "EDD read past the end fails"
    EXPECT_EQUAL(word ptr ds:[packet_count], 0, "... with nothing done")

/* Write by EDD, verify, read back by CHS; write by CHS, read back by EDD. */
    mov di, BUFFER
    mov cx, 1024
    mov ax, 0x1234
4:  stosw
    add ax, 7
    loop 4b
    mov dword ptr [packet_lba], 1200        // cylinder 1, head 3, sector 4
    mov word ptr [packet_count], 4
    mov ax, 0x4300
    mov dl, 0x81
    mov si, offset packet
    int 0x13
    EXPECT nc, "EDD write"
    mov ax, 0x4400
    mov dl, 0x81
    mov si, offset packet
    int 0x13
    EXPECT nc, "EDD verify"
    mov ax, 0x0204
    mov cx, 0x0104
    mov dx, 0x0381
    mov bx, BUFFER2
    int 0x13
    EXPECT nc, "CHS read of what was written"
    mov si, BUFFER
    mov di, BUFFER2
    mov cx, 1024
    repe cmpsw
    EXPECT z, "... is what was written"
    mov ax, 0x0301
    mov cx, 0x0206
    mov dx, 0x0781
    mov bx, BUFFER + 512
    int 0x13
    EXPECT nc, "CHS write"
    mov dword ptr [packet_lba], (2 * 16 + 7) * 63 + 5
    mov word ptr [packet_count], 1
    mov word ptr [packet + 4], BUFFER2
    mov ah, 0x42
    mov dl, 0x81
    mov si, offset packet
    int 0x13
    mov si, BUFFER + 512
    mov di, BUFFER2
    mov cx, 256
    repe cmpsw
    EXPECT z, "EDD reads what CHS wrote"

/* What must fail. */
    mov ax, 0x0201
    mov cx, 0x0000                          // sector 0
    mov dx, 0x0081
    mov bx, BUFFER
    int 0x13
    EXPECT c, "sector 0 fails"
    EXPECT_EQUAL(ah, 4, "... as sector not found")
    mov ah, 0x01
    mov dl, 0x81
    int 0x13
    EXPECT_EQUAL(ah, 4, "AH=01h tells the status again")
    mov ax, 0x0201
    mov cx, 0x0001
    mov dx, 0x1081
    int 0x13
    EXPECT c, "head 16 fails"
    mov ax, 0x0201
    mov cx, 0x0001
    mov dx, 0x0083
    int 0x13
    EXPECT c, "an absent disk fails"
    EXPECT_EQUAL(ah, 1, "... with 01h")
    mov ax, 0x0201
    mov cx, 0x0001
    mov dx, 0x0000
    int 0x13
    EXPECT c, "a drive without a diskette fails"
    EXPECT_EQUAL(ah, 0x80, "... with 80h")
    mov ah, 0x15
    mov dl, 0x01
    int 0x13
    EXPECT_EQUAL(ah, 0, "type of an absent diskette drive: none")
    mov ah, 0x15
    mov dl, 0x81
    int 0x13
    EXPECT_EQUAL(ah, 3, "type of a disk")
    shl ecx, 16
    mov cx, dx
    EXPECT_EQUAL(ecx, 203 * 16 * 63, "... with its sectors")
    mov ah, 0x77
    mov dl, 0x80
    int 0x13
    EXPECT c, "an unknown function fails"
    mov ah, 0x00
    mov dl, 0x80
    int 0x13
    EXPECT nc, "reset"
    mov ax, 0x0201
    mov cx, 0x0001
    mov dx, 0x0080
    mov bx, BUFFER
    int 0x13
    EXPECT nc, "... and the drive works on"
    EXPECT_EQUAL(word ptr ds:[BUFFER + 510], 0xAA55, "... with its boot sector")
    mov ah, 0x10
    mov dl, 0x82
    int 0x13
    EXPECT nc, "ready"
    jmp finish

packet_82:
    mov dl, 0x82
    mov si, offset packet
    int 0x13
    ret

    .balign 4
packet:       .word 16
packet_count: .word 1
              .word BUFFER, 0
packet_lba:   .long 0, 0
