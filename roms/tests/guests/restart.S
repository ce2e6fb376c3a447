/* A restart that comes back: with CMOS 0Fh = 0Ah the BIOS jumps through 0040:0067 and nothing else. Also what
 * POST leaves for a boot sector: write-protected copies, and vectors that answer. */
#include "test.inc"

main:
/* The BIOS and the VGA BIOS are read-only. */
    mov ax, 0xF000
    call writable
    EXPECT z, "F0000h is protected"
    mov ax, 0xC000
    call writable
    EXPECT z, "C0000h is protected"
    mov ax, 0x8000
    call writable
    EXPECT nz, "RAM is not"

/* Every interrupt of the controllers can come by software and returns. */
    int 0x0A
    int 0x0D
    int 0x0F
    int 0x72
    int 0x73
    int 0x75
    int 0x76
    int 0x77
    EXPECT_EQUAL(byte ptr ds:[0x48E], 0xFF, "INT 76h notes the disk's interrupt")
    mov cx, 3
    mov eax, [0x46C]
1:  hlt
    cmp eax, [0x46C]
    je 1b
    mov eax, [0x46C]
    loop 1b
    cmp eax, 0
    EXPECT nz, "the tick goes on"

/* Registers that a service does not name come back, upper halves and all. */
    mov eax, 0x11110000
    mov ebx, 0x22220000
    mov ecx, 0x33330000
    mov edx, 0x44440000
    mov esi, 0x55555555
    mov edi, 0x66666666
    mov ebp, 0x77777777
    mov ax, 0x0E2E
    int 0x10
    mov ah, 0x41
    mov bx, 0x55AA
    mov dl, 0x80
    int 0x13
    mov ah, 0x88
    int 0x15
    mov ah, 0x01
    int 0x16
    mov ax, 0xB102
    push esi
    xor si, si
    int 0x1A
    pop esi
    shr eax, 16
    shr ebx, 16
    shr ecx, 16
    shr edx, 16
    EXPECT_EQUAL(ax, 0x1111, "EAX keeps its upper half")
    EXPECT_EQUAL(bx, 0x2222, "EBX")
    EXPECT_EQUAL(cx, 0x3333, "ECX")
    EXPECT_EQUAL(dx, 0x4444, "EDX")
    EXPECT_EQUAL(esi, 0x55555555, "ESI")
    EXPECT_EQUAL(edi, 0x66666666, "EDI")
    EXPECT_EQUAL(ebp, 0x77777777, "EBP")

    mov word ptr [0x467], offset back
    mov word ptr [0x469], 0
    mov dword ptr [mark], 0x600DF00D
    mov al, 0x8F
    out 0x70, al
    mov al, 0x0A
    out 0x71, al
    cli
    .byte 0xEA                          // the reset vector; a reset of QEMU's would clear CMOS 0Fh
    .word 0xFFF0, 0xF000

back:
    mov sp, 0x7C00
    xor ax, ax
    mov ss, ax
    mov ds, ax
    EXPECT_EQUAL(dword ptr ds:[mark], 0x600DF00D, "a restart with shutdown code 0Ah resumes")
    mov al, 0x0F
    out 0x70, al
    in al, 0x71
    EXPECT_EQUAL(al, 0, "... which is used up")
    jmp finish

/* In: AX = segment. Out: ZF when its byte 100h cannot be written. */
writable:
    mov es, ax
    mov al, es:[0x100]
    mov ah, al
    not byte ptr es:[0x100]
    cmp al, es:[0x100]
    mov es:[0x100], ah
    ret
mark: .long 0
