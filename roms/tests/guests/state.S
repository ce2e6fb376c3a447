/* INT 10h AH=1Ch and what VBE has beside modes: states saved and restored, the protected-mode interface, the monitor's
 * EDID. Memory: 3000h answers, 4000h a state, 5000h the interface's code. */
#include "test.inc"

    .equ ANSWER, 0x3000
    .equ STATE, 0x4000
    .equ INTERFACE, 0x5000

main:
    call text_state
    call extension_state
    call protected
    call monitor
    jmp finish

/* A text mode comes back from a graphics mode. */
text_state:
    mov ax, 0x0003
    int 0x10
    mov ah, 0x01
    mov cx, 0x0B0C
    int 0x10
    mov ax, 0x1001                      // overscan
    mov bh, 0x2A
    int 0x10
    mov ax, 0x1010                      // DAC
    mov bx, 5
    mov dx, 0x1100
    mov cx, 0x2233
    int 0x10
    mov ax, 0x1C00
    mov cx, 7
    int 0x10
    EXPECT_EQUAL(al, 0x1C, "states can be saved")
    EXPECT_EQUAL(bx, 16, "... in a KiB")
    mov dx, 0x3CE
    mov al, 5
    out dx, al
    mov ax, 0x1C01
    mov cx, 7
    mov bx, STATE
    int 0x10
    EXPECT_EQUAL(al, 0x1C, "... and are")
    mov dx, 0x3CE
    in al, dx
    EXPECT_EQUAL(al, 5, "... without a change")
    mov ax, 0x0013
    int 0x10
    mov ah, 0x0F
    int 0x10
    EXPECT_EQUAL(al, 0x13, "another mode is set")
    mov ax, 0x1C02
    mov cx, 7
    mov bx, STATE
    int 0x10
    EXPECT_EQUAL(al, 0x1C, "the state is restored")
    mov dx, 0x3CE
    in al, dx
    EXPECT_EQUAL(al, 5, "... with its index")
    mov ax, 6
    out dx, al
    inc dx
    in al, dx
    EXPECT_EQUAL(al, 0x0E, "... graphics controller")
    mov dx, 0x3C4
    mov al, 4
    out dx, al
    inc dx
    in al, dx
    EXPECT_EQUAL(al, 0x02, "... sequencer")
    mov dx, 0x3D4
    mov al, 9
    out dx, al
    inc dx
    in al, dx
    EXPECT_EQUAL(al, 0x4F, "... CRTC")
    mov dx, 0x3CC
    in al, dx
    EXPECT_EQUAL(al, 0x67, "... clock")
    mov ax, 0x1008
    int 0x10
    EXPECT_EQUAL(bh, 0x2A, "... overscan")
    mov ax, 0x1015
    mov bx, 5
    int 0x10
    EXPECT_EQUAL(dh, 0x11, "... red")
    EXPECT_EQUAL(cx, 0x2233, "... green and blue")
    mov ah, 0x03
    mov bh, 0
    int 0x10
    EXPECT_EQUAL(cx, 0x0B0C, "... shape of the cursor")
    mov ah, 0x0F
    int 0x10
    EXPECT_EQUAL(ax, 0x5003, "... and mode")
    mov ax, 0x1C03
    int 0x10
    EXPECT_EQUAL(ax, 0x1C03, "there is no function 3")
    ret

/* A linear mode comes back from a text mode. */
extension_state:
    mov ax, 0x4F02
    mov bx, 0x4101
    int 0x10
    mov ax, 0x4F06
    mov bl, 0
    mov cx, 1024
    int 0x10
    mov ax, 0x4F07
    xor bx, bx
    mov cx, 8
    mov dx, 100
    int 0x10
    mov ax, 0x4F05
    xor bx, bx
    mov dx, 16
    int 0x10
    mov ax, 0xA000
    mov gs, ax
    mov byte ptr gs:[3], 0x5A
    mov ax, 0x4F04
    mov cx, 0x0F
    mov dl, 0
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "VBE saves states, too")
    EXPECT_EQUAL(bx, 17, "... of its own")
    mov ax, 0x4F04
    mov cx, 0x0F
    mov dl, 1
    mov bx, STATE
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "... one of a linear mode")
    mov ax, 0x0003
    int 0x10
    mov ax, 0x4F04
    mov cx, 0x0F
    mov dl, 2
    mov bx, STATE
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "... and restores it")
    mov ax, 0x4F03
    int 0x10
    EXPECT_EQUAL(bx, 0x4101, "... the mode")
    mov ax, 0x4F06
    mov bl, 1
    int 0x10
    EXPECT_EQUAL(cx, 1024, "... length of a line")
    mov ax, 0x4F07
    mov bx, 1
    int 0x10
    EXPECT_EQUAL(cx, 8, "... column")
    EXPECT_EQUAL(dx, 100, "... line")
    mov ax, 0x4F05
    mov bx, 0x0100
    int 0x10
    EXPECT_EQUAL(dx, 16, "... window")
    EXPECT_EQUAL(byte ptr gs:[3], 0x5A, "... on memory that kept its bytes")
    mov ax, 0x4F04
    mov dl, 3
    int 0x10
    EXPECT_EQUAL(ax, 0x014F, "VBE has no function 3 for states")
    ret

/* The interface, copied elsewhere and called in a 32-bit segment. Still in mode 101h with lines of 1024 bytes. */
protected:
    mov ax, 0x4F0A
    mov bl, 0
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "there is a protected-mode interface")
    mov si, di
    push es
    pop ds
    xor ax, ax
    mov es, ax
    mov di, INTERFACE
    rep movsb
    mov ds, ax
    xor ebx, ebx                        // display start
    mov ecx, (200 * 1024 + 12) / 4
    xor edx, edx
    mov esi, 2
    call in_32_bits
    EXPECT_EQUAL(ax, 0x004F, "... by which the display start moves")
    mov ax, 0x4F07
    mov bx, 1
    int 0x10
    EXPECT_EQUAL(cx, 12, "... to the column")
    EXPECT_EQUAL(dx, 200, "... and the line")
    xor ebx, ebx
    mov edx, 3
    xor esi, esi
    call in_32_bits
    EXPECT_EQUAL(ax, 0x004F, "... the window moves")
    mov ebx, 0x0100
    xor esi, esi
    call in_32_bits
    EXPECT_EQUAL(dx, 3, "... and is told")
    mov ebx, 0
    mov edx, 0x1234
    call in_32_bits
    EXPECT_EQUAL(ax, 0x014F, "... but not behind memory")
    mov dword ptr ds:[ANSWER], 0x00030201
    xor ebx, ebx
    mov ecx, 1
    mov edx, 77
    mov esi, 4
    mov edi, ANSWER
    call in_32_bits
    EXPECT_EQUAL(ax, 0x004F, "... the palette changes")
    mov dword ptr ds:[ANSWER], 0
    mov ax, 0x4F09
    mov bx, 1
    mov cx, 1
    mov dx, 77
    mov di, ANSWER
    int 0x10
    EXPECT_EQUAL(dword ptr ds:[ANSWER], 0x00030201, "... as INT 10h tells")
    mov dword ptr ds:[ANSWER], -1
    mov ebx, 1
    call in_32_bits
    EXPECT_EQUAL(dword ptr ds:[ANSWER], 0x00030201, "... and the interface itself")
    ret

/* Calls the function whose offset is at INTERFACE + ESI, in protected mode. Interrupts wait. */
in_32_bits:
    cli
    lgdt ds:[table_register]
    mov ds:[ANSWER + 8], eax
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xEA
    .word in_32, 0x08
    .code32
in_32:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    movzx esp, sp
    movzx eax, word ptr [INTERFACE + esi]
    add eax, INTERFACE
    call eax
    mov [ANSWER + 8], eax
    .byte 0xEA
    .long in_16
    .word 0x18
    .code16
in_16:
    mov ax, 0x20
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    .byte 0xEA
    .word in_real, 0
in_real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, ds:[ANSWER + 8]
    sti
    ret

    .balign 8
table:
    .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00009B000000FFFF, 0x000093000000FFFF
table_register:
    .word 39
    .long table

monitor:
    mov ax, 0x4F10
    mov bl, 0
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "the monitor has power states")
    EXPECT_EQUAL(bx, 0x0410, "... one of them off")
    mov ax, 0x4F10
    mov bx, 0x0401
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "... which it takes")
    mov dx, 0x3C4
    mov al, 1
    out dx, al
    inc dx
    in al, dx
    test al, 0x20
    EXPECT nz, "... by the sequencer"
    mov ax, 0x4F10
    mov bl, 2
    int 0x10
    EXPECT_EQUAL(bh, 4, "... and tells")
    mov ax, 0x4F10
    mov bx, 0x0201
    int 0x10
    EXPECT_EQUAL(ax, 0x014F, "... and no suspend")
    mov ax, 0x4F10
    mov bx, 0x0001
    int 0x10
    mov ax, 0x4F10
    mov bx, 0x0402
    int 0x10
    EXPECT_EQUAL(bx, 0x0002, "... it is on again")
    mov ax, 0x4F15
    xor bx, bx
    xor cx, cx
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "the monitor can be asked")
    EXPECT_EQUAL(bx, 0x0102, "... by DDC2, in a second")
    mov ax, 0x4F15
    mov bl, 1
    xor cx, cx
    xor dx, dx
    mov di, ANSWER
    int 0x10
    EXPECT_EQUAL(ax, 0x004F, "... for its EDID")
    EXPECT_EQUAL(dword ptr ds:[ANSWER], 0xFFFFFF00, "... with its header")
    EXPECT_EQUAL(byte ptr ds:[ANSWER + 0x12], 1, "... of version 1")
    mov si, ANSWER
    mov cx, 128
    mov ah, 0
1:  lodsb
    add ah, al
    loop 1b
    EXPECT_EQUAL(ah, 0, "... of bytes that add up")
    mov ax, 0x4F15
    mov bl, 1
    mov dx, 1
    int 0x10
    EXPECT_EQUAL(ax, 0x014F, "... and no second block")
    ret
