/* Boots a kernel that is entered in protected or 64-bit mode.
 *
 * The host has laid out a block of low memory with all that the kernel wants to be told, except for what only the
 * firmware knows. `emu-devices/src/direct_boot/handoff.rs` describes the block. Here it is loaded and completed:
 * memory map (ACPI specification, "INT 15H, E820H"), sizes of memory, address of the ACPI tables, cursor. The kernel
 * comes last, since it may lie where the firmware works: nothing of the firmware is used behind that point.
 *
 * In: as `bootstrap` of boot.S, its registers saved. Out: control to the kernel, with flat segments, CS 10h, data 18h,
 * TR 20h, interrupts off, A20 on; or to `give_up`.
 */
#include "common.inc"
    .global enter_protected

#define SETUP_ADDRESS     0x16

/* The block. */
#define ENTRY             0x00
#define AT_EAX            0x04
#define AT_EBX            0x08
#define AT_ESI            0x0C
#define AT_CR3            0x10
#define MAP               0x14
#define MAP_STRIDE        0x16
#define MAP_ROWS          0x18
#define MAP_COUNT         0x1A
#define MAP_UNIT          0x1C
#define MEMORY_SIZES      0x1E
#define RSDP              0x20
#define CURSOR            0x22
#define COMMANDS          0x24
#define GDTR              0x28
#define STACK_END         0x300

#define CODE32            0x08
#define ENTRY_CODE        0x10
#define FLAT_DATA         0x18
#define TASK              0x20

#define E820              0xE820
#define SMAP              0x534D4150
#define E820_SIZE         20
#define E820_RAM          1
#define MIB               0x100000
#define PORT_92           0x92
#define MSR_EFER          0xC0000080

    .text
enter_protected:
    mov si, offset setup_part
    call load_part
    jc give_up
    mov ax, SETUP_ADDRESS
    call read_item
    shr eax, 4
    mov ds, ax                          // DS and ES: the block, to the end
    mov es, ax
    call read_memory_map
    call memory_sizes
    call find_rsdp
    call cursor
    mov ax, 0x2401                      // A20 by the BIOS, and by port 92h where that does not know it
    int 0x15
    in al, PORT_92
    or al, 2
    and al, 0xFE
    out PORT_92, al

    cli
    cld
    mov ax, ds
    mov ss, ax
    mov sp, STACK_END
    mov si, [COMMANDS]
1:  cmp dword ptr [si], 0
    je 3f
    xor ebx, ebx
    mov bx, ds
    shl ebx, 4
    movzx ecx, si
    add ebx, ecx
    call run_command
2:  cmp dword ptr [si], 0               // the device zeroes what it has done
    jne 2b
    add si, 16
    jmp 1b
3:  xor ebp, ebp
    mov bp, ds
    shl ebp, 4                          // the block's physical address
    xor ebx, ebx
    mov bx, cs
    shl ebx, 4                          // this ROM's
    lgdt [GDTR]
    mov eax, 0x11                       // PE and ET, no caching disabled, nothing else
    mov cr0, eax
    push dword ptr CODE32
    lea eax, [ebx + in_32_bits]
    push eax
    .byte 0x66
    retf

    .code32
in_32_bits:
    mov eax, FLAT_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov fs, eax
    mov gs, eax
    lea esp, [ebp + STACK_END]
    mov ax, TASK
    ltr ax
    push 2
    popfd
    mov ecx, [ebp + AT_CR3]
    test ecx, ecx
    jnz to_64_bits
    push ENTRY_CODE
    push [ebp + ENTRY]
    mov eax, [ebp + AT_EAX]
    mov ebx, [ebp + AT_EBX]
    mov esi, [ebp + AT_ESI]
    xor ecx, ecx
    xor edx, edx
    xor edi, edi
    xor ebp, ebp
    retf

to_64_bits:
    mov eax, cr4
    or eax, 0x20                        // PAE
    mov cr4, eax
    mov cr3, ecx
    mov ecx, MSR_EFER
    rdmsr
    or eax, 0x100                       // LME
    wrmsr
    mov eax, 0x80000011
    mov cr0, eax
    push ENTRY_CODE
    lea eax, [ebx + in_64_bits]
    push eax
    retf

/* In 64-bit mode; these instructions have the same bytes in both, and address memory by 64 bits. */
in_64_bits:
    mov ebp, ebp                        // upper halves are undefined until written
    mov esp, esp
    mov edx, [ebp + ENTRY]
    mov esi, [ebp + AT_ESI]
    xor eax, eax
    xor ebx, ebx
    xor ecx, ecx
    xor edi, edi
    xor ebp, ebp
    jmp edx

    .code16
/* Fills in the rows and their count. Clobbers everything but the segments. */
read_memory_map:
    mov di, [MAP]
    xor ebx, ebx
    xor bp, bp
1:  mov eax, E820
    mov edx, SMAP
    mov ecx, E820_SIZE
    push bp
    push di
    int 0x15
    pop di
    pop bp
    jc 2f
    cmp eax, SMAP
    jne 2f
    mov eax, [di + 8]
    or eax, [di + 12]
    jz 3f                               // an empty row says nothing
    inc bp
    add di, [MAP_STRIDE]
    cmp bp, [MAP_ROWS]
    jae 2f
3:  test ebx, ebx
    jnz 1b
2:  movzx eax, bp
    movzx ecx, word ptr [MAP_UNIT]
    mul ecx
    mov di, [MAP_COUNT]
    mov [di], eax
    mov [rows], bp
    ret

/* KiB from 0, and from 1 MiB to the first hole. */
memory_sizes:
    mov di, [MEMORY_SIZES]
    test di, di
    jz 9f
    int 0x12
    movzx eax, ax
    mov [di], eax
    mov cx, [rows]
    jcxz 9f
    mov si, [MAP]
1:  cmp dword ptr [si + 16], E820_RAM
    jne 2f
    cmp dword ptr [si + 4], 0
    jne 2f
    mov eax, MIB
    sub eax, [si]
    jc 2f                               // begins above 1 MiB
    mov edx, [si + 8]
    sub edx, eax
    jbe 2f                              // ends below
    shr edx, 10
    mov [di + 4], edx
    ret
2:  add si, [MAP_STRIDE]
    loop 1b
9:  ret

/* Looks where the ACPI specification says: in the first KiB of the extended BIOS data area, then from E0000h on. */
find_rsdp:
    mov di, [RSDP]
    test di, di
    jz 9f
    push es
    mov ax, BDA_SEG
    mov es, ax
    mov ax, es:[BDA_EBDA]
    mov cx, 1024 / 16
    call scan
    jc 1f
    mov ax, 0xE000
    mov cx, 0x2000
    call scan
    jnc 2f
1:  movzx eax, ax
    shl eax, 4
    mov [di], eax
2:  pop es
9:  ret

/* In: AX = segment, CX = paragraphs. Out: CF set and AX = segment of the RSDP. Clobbers BX, CX, DL, ES. */
scan:
    mov es, ax
    cmp dword ptr es:[0], 0x20445352    // "RSD "
    jne 2f
    cmp dword ptr es:[4], 0x20525450    // "PTR "
    jne 2f
    xor bx, bx
    xor dl, dl
1:  add dl, es:[bx]
    inc bx
    cmp bx, 20
    jb 1b
    test dl, dl
    jz 3f
2:  inc ax
    loop scan
    clc
    ret
3:  stc
    ret

/* Column and row on the screen. */
cursor:
    mov di, [CURSOR]
    test di, di
    jz 9f
    push es
    mov ax, BDA_SEG
    mov es, ax
    mov ax, es:[BDA_CURSOR]
    pop es
    mov [di], ax
9:  ret

/* Rows of the memory map, in the block behind its head. */
    .set rows, 0x26
