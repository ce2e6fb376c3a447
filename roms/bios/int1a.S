/* INT 1Ah: clock (AH=00h-07h, see timer.S and rtc.S) and PCI BIOS (AH=B1h).
 *
 * PCI BIOS 2.1. In: AL = function. Out: CF and AH: 00h done, 81h unsupported, 83h bad vendor,
 * 86h not found, 87h bad register number.
 *   01h present: EDX = "PCI ", AL = mechanisms (1), BX = version, CL = last bus
 *   02h find device CX, vendor DX, the SI-th: BX = bus, device, function
 *   03h find class ECX (24 bits), the SI-th: BX
 *   08h/09h/0Ah read byte, word, dword of register DI of function BX into CL, CX, ECX
 *   0Bh/0Ch/0Dh write them
 * Left out: special cycles (06h), interrupt routing options (0Eh, 0Fh), the 32-bit entry.
 */
#include "common.inc"

#define DONE            0x00
#define NOT_SUPPORTED   0x81
#define BAD_VENDOR      0x83
#define NOT_FOUND       0x86
#define BAD_REGISTER    0x87

    .global int1a
int1a:
    BEGIN_SERVICE
    cmp ah, 0xB1
    je 1f
    DISPATCH ah, clock_table, 8, 2f
    END_SERVICE
1:  cmp al, 0x0D
    ja 3f
    mov ah, al
    mov di, CALLER_DI
    movzx bx, ah
    shl bx, 1
    push word ptr cs:[bx + pci_table]
    mov bx, CALLER_BX
    mov si, CALLER_SI
    pop ax
    call ax
4:  mov CALLER_AH, ah                   // every function returns AH
    CALLER_CLC
    test ah, ah
    jz 5f
    CALLER_STC
5:  END_SERVICE
3:  mov ah, NOT_SUPPORTED
    jmp 4b
2:  CALLER_STC
    END_SERVICE

clock_table:
    .word int1a_00, int1a_01, int1a_02, int1a_03, int1a_04, int1a_05, int1a_06, int1a_07
pci_table:
    .word unsupported, present, find_device, find_class, unsupported, unsupported, unsupported
    .word unsupported, read_byte, read_word, read_dword, write_byte, write_word, write_dword

unsupported:
    mov ah, NOT_SUPPORTED
    ret

present:
    mov CALLER_EDX, 0x20494350          // "PCI "
    mov CALLER_AL, 1
    mov CALLER_BX, 0x0210
    mov al, cs:[pci_last_bus]
    mov CALLER_CL, al
    mov ah, DONE
    ret

find_device:
    mov ah, BAD_VENDOR
    cmp dx, 0xFFFF
    je 2f
    mov di, offset same_device
/* Walks with DI as the test and SI as how many matches to pass over. */
find:
    xor bx, bx
    push CALLER_SI                      // counted down below
    call pci_walk
    pop CALLER_SI
    mov ah, NOT_FOUND
    jnc 2f
    mov CALLER_BX, bx
    mov ah, DONE
2:  ret

find_class:
    mov di, offset same_class
    jmp find

/* For pci_walk: CF at the match that the caller's SI counts down to. */
same_device:
    cmp ax, CALLER_DX
    jne no_match
    shr eax, 16
    cmp ax, CALLER_CX
    jne no_match
match:
    sub CALLER_SI, 1                    // borrows, so CF, when it was 0
    ret
no_match:
    clc
    ret
same_class:
    mov di, 0x08
    call pci_read32
    shr eax, 8
    mov ecx, CALLER_ECX
    and ecx, 0x00FFFFFF
    cmp eax, ecx
    jne no_match
    jmp match

/* Returns to the service when DI is no register or not a multiple of \size. */
.macro CHECK_REGISTER size
    test di, 0xFF00 | (\size - 1)
    jnz bad_register
.endm

read_byte:
    CHECK_REGISTER 1
    call pci_read8
    mov CALLER_CL, al
    mov ah, DONE
    ret
read_word:
    CHECK_REGISTER 2
    call pci_read16
    mov CALLER_CX, ax
    mov ah, DONE
    ret
read_dword:
    CHECK_REGISTER 4
    call pci_read32
    mov CALLER_ECX, eax
    mov ah, DONE
    ret
write_byte:
    CHECK_REGISTER 1
    call pci_write8
    mov ah, DONE
    ret
write_word:
    CHECK_REGISTER 2
    call pci_write16
    mov ah, DONE
    ret
write_dword:
    CHECK_REGISTER 4
    call pci_write32
    mov ah, DONE
    ret
bad_register:
    mov ah, BAD_REGISTER
    ret
