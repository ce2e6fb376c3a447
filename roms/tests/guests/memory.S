/* INT 15h: the memory map and its older cousins, A20, block move, wait; INT 12h. */
#include "test.inc"

#define SMAP 0x534D4150
#define TABLES_MOST (256 * 1024)
map = 0x1000                            // entries of 24 bytes

main:
    int 0x12
    EXPECT_EQUAL(ax, 639, "int 12h tells 639 KiB")
    mov ax, [0x40E]
    EXPECT_EQUAL(ax, 0x9FC0, "the EBDA takes the last KiB")

    xor ebx, ebx
    mov di, map
1:  mov eax, 0xE820
    mov edx, SMAP
    mov ecx, 24
    int 0x15
    jc 2f
    cmp eax, SMAP
    jne 2f
    cmp ecx, 24
    jne 2f
    add di, 24
    test ebx, ebx
    jnz 1b
    clc
2:  EXPECT nc, "E820 runs to its end"
    mov dword ptr [di], -1
    mov [map_end], di

/* Sorted, no overlap, no empty entry; RAM from 0; RAM at 1 MiB of the size that QEMU was given. */
    mov si, map
    mov eax, [si]
    or eax, [si + 4]
    EXPECT z, "E820 begins at 0"
    EXPECT_EQUAL(dword ptr [si + 8], 0x9FC00, "E820 first entry ends at the EBDA")
3:  mov eax, [si]
    mov edx, [si + 4]
    mov ecx, [si + 8]
    or ecx, [si + 12]
    jz 4f
    add eax, [si + 8]
    adc edx, [si + 12]
    add si, 24
    cmp si, di
    jae 5f
    cmp edx, [si + 4]
    jb 3b
    ja 4f
    cmp eax, [si]
    jbe 3b
4:  stc
    jmp 6f
5:  clc
6:  EXPECT nc, "E820 is sorted and does not overlap"

    mov si, map
7:  cmp dword ptr [si], 0x100000
    je 8f
    add si, 24
    cmp si, di
    jb 7b
8:  EXPECT_EQUAL(dword ptr [si], 0x100000, "E820 has an entry at 1 MiB")
    mov eax, 63 * 0x100000
    sub eax, [si + 8]
    mov [taken], eax
    dec eax                             // there is always a table
    cmp eax, TABLES_MOST
    EXPECT b, "E820 has 63 MiB there less the tables"
    mov eax, [si]
    add eax, [si + 8]
    EXPECT_EQUAL(dword ptr [si + 24], eax, "E820 goes on with the tables")
    EXPECT_EQUAL(dword ptr [si + 24 + 16], 2, "E820 calls them reserved")
    add eax, [si + 24 + 8]
    EXPECT_EQUAL(eax, 64 * 0x100000, "E820 has no gap up to 64 MiB")
    EXPECT_EQUAL(dword ptr [si + 16], 1, "E820 calls it RAM")
    EXPECT_EQUAL(dword ptr [si + 20], 1, "E820 extended attributes say valid")

    mov eax, 0xE820
    xor ebx, ebx
    mov ecx, 20
    mov edx, 0x12345678
    mov di, 0x2000
    int 0x15
    EXPECT c, "E820 wants SMAP"
    mov eax, 0xE820
    mov edx, SMAP
    mov ecx, 19
    int 0x15
    EXPECT c, "E820 wants room for 20 bytes"

    mov ax, 0xE801
    int 0x15
    EXPECT nc, "E801 answers"
    EXPECT_EQUAL(ax, 0x3C00, "E801 15 MiB below 16")
    mov eax, 48 * 0x100000
    sub eax, [taken]
    shr eax, 16
    EXPECT_EQUAL(bx, ax, "E801 48 MiB above 16 less the tables")
    mov ah, 0x88
    int 0x15
    mov ebx, 63 * 0x100000
    sub ebx, [taken]
    shr ebx, 10
    EXPECT_EQUAL(ax, bx, "88h 63 MiB less the tables")

/* The tables: the RSDP and the SMBIOS entry point lie on a paragraph of the BIOS segment. */
    mov ax, 0xF000
    mov es, ax
    mov eax, 0x20445352                 // "RSD "
    call find_paragraph
    EXPECT nc, "there is an RSDP"
    mov cx, 20
    call sum_up
    EXPECT z, "its checksum is right"
    mov eax, es:[di + 16]
    sub eax, 64 * 0x100000
    neg eax
    cmp eax, [taken]
    EXPECT be, "the RSDT lies among the tables"
    mov eax, 0x5F4D535F                 // "_SM_"
    call find_paragraph
    EXPECT nc, "there is an SMBIOS entry point"
    movzx cx, byte ptr es:[di + 5]
    call sum_up
    EXPECT z, "its checksum is right"
    add di, 0x10
    mov cx, 15
    call sum_up
    EXPECT z, "its second checksum is right"
    mov eax, es:[di + 8]
    sub eax, 64 * 0x100000
    neg eax
    cmp eax, [taken]
    EXPECT be, "the structures lie among the tables"

/* A20: with the line off, 1 MiB is 0. */
    mov ax, 0xFFFF
    mov es, ax
    mov dword ptr ds:[0x500], 0x11111111
    mov ax, 0x2401
    int 0x15
    mov dword ptr es:[0x510], 0x22222222
    EXPECT_EQUAL(dword ptr ds:[0x500], 0x11111111, "A20 on: 1 MiB is a place of its own")
    mov ax, 0x2400
    int 0x15
    EXPECT_EQUAL(dword ptr es:[0x510], 0x11111111, "A20 off: 1 MiB is 0")
    mov ax, 0x2402
    int 0x15
    EXPECT_EQUAL(al, 0, "A20 state off")
    mov ax, 0x2401
    int 0x15
    mov ax, 0x2402
    int 0x15
    EXPECT_EQUAL(al, 1, "A20 state on")

/* Block move to 2 MiB and back. */
    mov ax, 0
    mov es, ax
    mov eax, 0x7C00
    mov ebx, 0x200000
    call set_descriptors
    mov si, offset table
    mov cx, 256
    mov ah, 0x87
    int 0x15
    EXPECT nc, "block move up"
    mov eax, 0x200000
    mov ebx, 0x3000
    call set_descriptors
    mov si, offset table
    mov cx, 256
    mov ah, 0x87
    int 0x15
    EXPECT nc, "block move down"
    mov si, 0x7C00
    mov di, 0x3000
    mov cx, 256
    repe cmpsw
    EXPECT z, "block move brought the bytes back"

    mov ah, 0xC0
    int 0x15
    EXPECT nc, "configuration table"
    EXPECT_EQUAL(byte ptr es:[bx + 2], 0xFC, "model byte")
    mov ah, 0xC1
    int 0x15
    mov ax, es
    EXPECT_EQUAL(ax, 0x9FC0, "C1h gives the EBDA")
    mov ah, 0x53
    mov al, 0
    xor bx, bx
    int 0x15
    EXPECT c, "no APM"
    EXPECT_EQUAL(ah, 0x86, "unsupported is 86h")

/* 200 ms are between three and five ticks. */
    mov eax, [0x46C]
9:  cmp eax, [0x46C]
    je 9b
    mov ecx, [0x46C]
    push ecx
    mov ah, 0x86
    mov cx, 200000 >> 16
    mov dx, 200000 & 0xFFFF
    int 0x15
    EXPECT nc, "wait answers"
    pop ecx
    mov eax, [0x46C]
    sub eax, ecx
    call say_hex
    cmp eax, 3
    EXPECT ae, "wait is not too short"
    cmp eax, 5
    EXPECT be, "wait is not too long"

/* Event wait: 100 ms by IRQ 8. */
    xor ax, ax
    mov es, ax
    mov ax, 0x8300
    mov bx, offset event_flag
    mov cx, 100000 >> 16
    mov dx, 100000 & 0xFFFF
    int 0x15
    EXPECT nc, "event wait begins"
    mov ecx, [0x46C]
    add ecx, 10
10: hlt
    test byte ptr [event_flag], 0x80
    jnz 11f
    cmp [0x46C], ecx
    jb 10b
11: test byte ptr [event_flag], 0x80
    EXPECT nz, "event wait comes"
    jmp finish

/* In: EAX = from, EBX = to. */
set_descriptors:
    mov [table + 0x12], eax
    mov byte ptr [table + 0x15], 0x93
    mov [table + 0x1A], ebx
    mov byte ptr [table + 0x1D], 0x93
    ret

/* In: EAX = four letters. Out: ES:DI = the paragraph that begins so, or CF. */
find_paragraph:
    xor di, di
1:  cmp es:[di], eax
    je 2f
    add di, 16
    jnz 1b
    stc
2:  ret

/* In: ES:DI, CX bytes. Out: ZF when they add up to zero. Clobbers AL, CX, SI. */
sum_up:
    mov si, di
    xor al, al
1:  add al, es:[si]
    inc si
    loop 1b
    test al, al
    ret

    .balign 8
table: .quad 0, 0
       .word 0xFFFF, 0, 0, 0, 0xFFFF, 0, 0, 0
       .quad 0, 0
taken: .long 0
map_end: .word 0
event_flag: .byte 0
