/* INT 15h AX=E820h: the memory map (ACPI specification, "INT 15H, E820H").
 *
 * In:   EAX = E820h, EDX = "SMAP", EBX = 0 or the last answer's EBX, ECX = buffer size, ES:DI = buffer
 * Out:  CF clear, EAX = "SMAP", ECX = bytes written (20, or 24 when the buffer has room for the
 *       extended attributes), EBX = 0 after the last entry. CF set and AH = 86h: wrong request.
 *
 * Entries are sorted and do not overlap. Type 1 is RAM, 2 reserved. The map is built in POST, from
 * fw_cfg's "etc/e820" where there is one, else from memory.S, less what tables.S has taken.
 */
#include "common.inc"

#define SMAP         0x534D4150
#define TYPE_RAM     1
#define TYPE_RESERVED 2
#define ENTRY_SIZE   20
#define ENTRIES_MAX  32
#define ROM_SIZE     0x20000

    .global e820_read, e820_build, int15_e820

/* Reads "etc/e820" where there is one. Clobbers everything but DS, SS:SP. */
e820_read:
    push ds
    push cs
    pop ds
    push cs
    pop es
    mov word ptr ds:[fw_cfg_entries], 0
    call read_fw_cfg
    pop ds
    ret

/* Makes the map. Clobbers everything but DS, SS:SP. */
e820_build:
    push ds
    push cs
    pop ds
    push cs
    pop es
    mov word ptr ds:[e820_count], 0
    xor eax, eax
    mov ebx, EBDA_SEG << 4
    mov cl, TYPE_RAM
    call add_low
    mov eax, EBDA_SEG << 4
    mov ebx, 0x000A0000
    mov cl, TYPE_RESERVED
    call add_low
    mov eax, 0x000E0000
    mov ebx, 0x00100000
    call add_low
    mov eax, 0x00100000
    mov ebx, ds:[memory_usable_top]
    mov cl, TYPE_RAM
    call add_low
    mov eax, ds:[memory_usable_top]     // tables of tables.S
    mov ebx, ds:[memory_low_top]
    mov cl, TYPE_RESERVED
    call add_low
    mov edx, 0                          // fw_cfg's other regions below the ROM
    call add_fw_cfg
    mov eax, 0 - ROM_SIZE
    xor ebx, ebx                        // up to 4 GiB
    mov cl, TYPE_RESERVED
    call add_low
    mov eax, ds:[memory_high_size]
    or eax, ds:[memory_high_size + 4]
    jz 1f
    mov si, offset high_entry
    mov eax, ds:[memory_high_size]
    mov ds:[high_entry + 8], eax
    mov eax, ds:[memory_high_size + 4]
    mov ds:[high_entry + 12], eax
    call add_entry
1:  mov edx, 1                          // ... and those above 4 GiB
    call add_fw_cfg
    pop ds
    ret

/* Adds EAX to EBX (the end), type CL, both below 4 GiB; an empty range is left out. */
add_low:
    sub ebx, eax
    jz 2f
    mov ds:[low_entry], eax
    mov ds:[low_entry + 8], ebx
    mov ds:[low_entry + 16], cl
    mov si, offset low_entry
/* Adds the entry at DS:SI. Clobbers AX, SI, DI. */
add_entry:
    push cx
    mov ax, ds:[e820_count]
    cmp ax, ENTRIES_MAX
    jae 1f
    inc word ptr ds:[e820_count]
    imul di, ax, ENTRY_SIZE
    add di, offset e820_map
    mov cx, ENTRY_SIZE
    rep movsb
1:  pop cx
2:  ret

/* Reads "etc/e820" into fw_cfg_map. RAM at 0 and at 4 GiB correct what CMOS said. */
read_fw_cfg:
    mov si, offset file_name
    call fw_cfg_find
    jc 9f
    mov eax, ecx
    xor edx, edx
    mov ecx, ENTRY_SIZE
    div ecx
    cmp eax, ENTRIES_MAX / 2
    jbe 1f
    mov ax, ENTRIES_MAX / 2
1:  mov bp, ax                          // entries to read
    test bp, bp
    jz 9f
    mov ds:[fw_cfg_entries], ax
    mov di, offset fw_cfg_map
    imul cx, ax, ENTRY_SIZE
    call fw_cfg_read
    mov si, offset fw_cfg_map
2:  cmp byte ptr ds:[si + 16], TYPE_RAM
    jne 4f
    mov eax, ds:[si]
    test eax, eax
    jnz 4f
    mov eax, ds:[si + 8]
    mov edx, ds:[si + 12]
    cmp dword ptr ds:[si + 4], 0
    jne 3f
    test edx, edx
    jnz 4f
    mov ds:[memory_low_top], eax
    jmp 4f
3:  cmp dword ptr ds:[si + 4], 1
    jne 4f
    mov ds:[memory_high_size], eax
    mov ds:[memory_high_size + 4], edx
4:  add si, ENTRY_SIZE
    dec bp
    jnz 2b
9:  ret

/* Adds fw_cfg's entries below (EDX = 0) or above (EDX = 1) 4 GiB, but for the RAM that is in already.
 * They come sorted. Clobbers EAX, CX, SI, DI. */
add_fw_cfg:
    mov si, offset fw_cfg_map
    mov cx, ds:[fw_cfg_entries]
1:  jcxz 5f
    xor eax, eax
    cmp ds:[si + 4], eax
    setne al
    cmp eax, edx
    jne 4f
    cmp byte ptr ds:[si + 16], TYPE_RAM
    jne 3f
    cmp dword ptr ds:[si], 0
    jne 3f
    cmp dword ptr ds:[si + 4], 1        // RAM at 0 or at 4 GiB
    jbe 4f
3:  push si
    call add_entry
    pop si
4:  add si, ENTRY_SIZE
    dec cx
    jmp 1b
5:  ret

int15_e820:
    cmp CALLER_EDX, SMAP
    jne 8f
    cmp CALLER_ECX, ENTRY_SIZE
    jb 8f
    mov eax, CALLER_EBX
    movzx ecx, word ptr cs:[e820_count]
    cmp eax, ecx
    jae 8f
    mov di, CALLER_DI
    imul si, ax, ENTRY_SIZE
    add si, offset e820_map
    inc ax
    cmp ax, cx
    jb 1f
    xor ax, ax                          // that was the last
1:  movzx eax, ax
    mov CALLER_EBX, eax
    mov ecx, ENTRY_SIZE / 4
    rep movsd es:[di], cs:[si]
    cmp CALLER_ECX, ENTRY_SIZE + 4
    mov CALLER_ECX, ENTRY_SIZE
    jb 2f
    mov CALLER_ECX, ENTRY_SIZE + 4
    mov eax, 1                          // extended attributes: entry is valid
    stosd
2:  mov CALLER_EAX, SMAP
    CALLER_CLC
    ret
8:  mov CALLER_AH, 0x86
    CALLER_STC
    ret

file_name: .asciz "etc/e820"
    .balign 4
low_entry:  .quad 0, 0
            .long 0
high_entry: .quad 0x100000000, 0
            .long TYPE_RAM
fw_cfg_entries: .word 0
e820_count: .word 0
fw_cfg_map: .skip ENTRY_SIZE * ENTRIES_MAX / 2
e820_map:   .skip ENTRY_SIZE * ENTRIES_MAX
