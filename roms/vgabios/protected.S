/* AX=4F0Ah: the protected-mode interface, code for 32-bit segments that callers copy to where they like (VESA, "VBE Core
 * Functions", "Return VBE Protected Mode Interface"). It needs the extension's ports and the DAC's, and no memory.
 *
 * Each ends with a near RET, answers in AX as the function of INT 10h does and keeps the other registers.
 *   05h window       BX, DX as for INT 10h
 *   07h display start BL = 00h, 80h; CX, DX = lower and upper half of where it is in memory, in units of 4 bytes
 *   09h palette      BL = 00h, 80h set, 1 get; CX entries from DX on, at ES:EDI
 */
#include "common.inc"
#include "vga.inc"
#include "vbe.inc"

    .global vbe_protected

/* In: BL = 0. Out: ES:DI = the table, CX = its bytes; CF when BL is another. */
vbe_protected:
    cmp bl, 0
    stc
    jne 1f
    mov CALLER_DI, offset interface
    mov CALLER_ES, cs
    mov CALLER_CX, offset interface_end - interface
    clc
1:  ret

interface:
    .word window - interface, start - interface, palette - interface, ports - interface
/* Ports, then memory: there is none. */
ports:
    .word DISPI_INDEX, DISPI_INDEX + 1, VGA_DAC_READ, VGA_DAC_WRITE, VGA_DAC_DATA, 0xFFFF, 0xFFFF

    .code32
/* In: EAX = register. Out: EAX = its value. */
get:
    push edx
    mov edx, DISPI_INDEX
    out dx, ax
    inc edx
    xor eax, eax
    in ax, dx
    pop edx
    ret

/* In: EAX = register, EBX = value. Out: ZF when it took it. Clobbers EAX. */
set:
    push edx
    push eax
    mov edx, DISPI_INDEX
    out dx, ax
    inc edx
    mov eax, ebx
    out dx, ax
    pop eax
    pop edx
    call get
    cmp ax, bx
    ret

window:
    push ebx
    test bl, bl
    jnz 2f
    cmp bh, 1
    ja 2f
    je 1f
    movzx ebx, dx
    mov eax, DISPI_BANK
    call set
    jne 2f
    pop ebx
    mov eax, 0x004F
    ret
1:  mov eax, DISPI_BANK
    call get
    mov edx, eax
    pop ebx
    mov eax, 0x004F
    ret
2:  pop ebx
    mov eax, 0x014F
    ret

start:
    pushad
    test bl, 0x7F
    jnz 1f
    shl edx, 16
    mov dx, cx
    lea esi, [edx * 4]                  // bytes from the beginning
    mov eax, DISPI_BPP
    call get
    add eax, 7
    shr eax, 3
    mov edi, eax                        // of a pixel
    mov eax, DISPI_VIRT_WIDTH
    call get
    mul edi
    mov ecx, eax                        // of a line
    jecxz 1f
    mov eax, esi
    xor edx, edx
    div ecx
    mov ecx, eax                        // line
    mov eax, edx
    xor edx, edx
    div edi
    mov ebx, eax                        // column
    mov eax, DISPI_X_OFFSET
    call set
    jne 1f
    mov ebx, ecx
    mov eax, DISPI_Y_OFFSET
    call set
    jne 1f
    popad
    mov eax, 0x004F
    ret
1:  popad
    mov eax, 0x014F
    ret

palette:
    pushad
    and bl, 0x7F
    cmp bl, 1
    ja 4f
    movzx ecx, cx
    jecxz 3f
    mov eax, edx
    mov edx, VGA_DAC_WRITE
    je 2f
    out dx, al
    inc edx
1:  mov al, es:[edi + 2]
    out dx, al
    mov al, es:[edi + 1]
    out dx, al
    mov al, es:[edi]
    out dx, al
    add edi, 4
    loop 1b
    jmp 3f
2:  dec edx                             // VGA_DAC_READ
    out dx, al
    add edx, VGA_DAC_DATA - VGA_DAC_READ
5:  in al, dx
    mov es:[edi + 2], al
    in al, dx
    mov es:[edi + 1], al
    in al, dx
    mov es:[edi], al
    mov byte ptr es:[edi + 3], 0
    add edi, 4
    loop 5b
3:  popad
    mov eax, 0x004F
    ret
4:  popad
    mov eax, 0x014F
    ret
interface_end:
    .code16
