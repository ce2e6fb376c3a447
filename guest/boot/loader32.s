# The loader, part two: 32-bit protected mode without paging, then with 32-bit paging, each used and
# checked; then the kernel's segments go to their places and long mode is switched on.

.include "defs.inc"

.section .loader32, "ax"
.code32
.global protected32
protected32:
        mov     ax, SEL_DATA32
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     fs, ax
        mov     gs, ax
        mov     esp, 0x7C00
        cld
        mov     eax, cr0
        mov     [BI_PM32_CR0], eax

        # A small IDT: only #GP and #PF have gates ("Interrupt Gate", 32 bits, DPL 0).
        mov     edi, IDT32
        mov     ecx, 15 * 2
        xor     eax, eax
        rep     stosd
        mov     eax, offset general_protection
        mov     edi, IDT32 + 13 * 8
        call    set_gate
        mov     eax, offset page_fault
        mov     edi, IDT32 + 14 * 8
        call    set_gate
        lidt    [idt32_pointer]

        # Checks without paging. EBX gathers the bits.
        xor     ebx, ebx
        mov     eax, 0xFFFFFFFF         # 32-bit registers and offsets without prefixes
        add     eax, 2
        cmp     eax, 1
        jne     1f
        or      ebx, 1
1:      mov     eax, 0x100000           # 1 MiB is no longer 0
        mov     dword ptr [0x500], 0x600D
        mov     dword ptr [eax + 0x500], 0x0BAD
        cmp     dword ptr [0x500], 0x600D
        jne     2f
        or      ebx, 2
2:      mov     ax, SEL_SMALL           # one byte beyond the limit: #GP(0)
        mov     fs, ax
        mov     al, fs:[0xFFF]
        call    forget_fault
        mov     dword ptr [resume], offset 3f
        mov     al, fs:[0x1000]
3:      cmp     dword ptr [fault_vector], 13
        jne     4f
        cmp     dword ptr [fault_error], 0
        jne     4f
        or      ebx, 4
4:      mov     dword ptr [resume], offset 5f
        call    forget_fault
        mov     ax, 0x78                # beyond the GDT: #GP with the selector as error code
        mov     fs, ax
5:      cmp     dword ptr [fault_error], 0x78
        jne     6f
        or      ebx, 8
6:      mov     ax, SEL_DATA32
        mov     fs, ax
        mov     [BI_PM32_CHECKS], ebx

        call    paging32
        call    place_kernel
        jmp     enter_long_mode

set_gate:                               # EAX = handler, EDI = gate
        mov     [edi], ax
        mov     word ptr [edi + 2], SEL_CODE32
        mov     word ptr [edi + 4], 0x8E00
        shr     eax, 16
        mov     [edi + 6], ax
        ret

forget_fault:
        mov     dword ptr [fault_vector], -1
        mov     dword ptr [fault_error], -1
        ret

# Both handlers note what came and go on at [resume]. They change EAX.
general_protection:
        mov     dword ptr [fault_vector], 13
        jmp     note_fault
page_fault:
        mov     dword ptr [fault_vector], 14
        mov     eax, cr2
        mov     [fault_address], eax
note_fault:
        pop     eax
        mov     [fault_error], eax
        mov     eax, [resume]
        mov     [esp], eax
        iretd

# 32-bit paging (SDM 3A, "32-Bit Paging"): a directory, one table. Linear 0 to 4 MiB is mapped to itself
# and a second time at 3 GiB; 8 MiB is a 4 MiB page onto physical 0 where the processor has PSE.
paging32:
        mov     edi, PD32
        mov     ecx, 1024
        xor     eax, eax
        rep     stosd
        mov     edi, PT32
        mov     ecx, 1024
        mov     eax, 3                  # present, writable
1:      stosd
        add     eax, 0x1000
        loop    1b
        mov     dword ptr [PD32], PT32 + 3
        mov     dword ptr [PD32 + 0x300 * 4], PT32 + 3
        mov     eax, 1
        cpuid
        xor     ebp, ebp
        test    edx, 1 << 3             # PSE
        jz      2f
        mov     dword ptr [PD32 + 2 * 4], 0x83
        mov     eax, cr4
        or      eax, 1 << 4             # CR4.PSE
        mov     cr4, eax
        inc     ebp
2:      mov     eax, PD32
        mov     cr3, eax
        mov     eax, cr0
        or      eax, 0x80010000         # PG and WP
        mov     cr0, eax
        jmp     3f
3:      mov     eax, cr0
        mov     [BI_PG32_CR0], eax
        xor     ebx, ebx

        # The alias at 3 GiB shows the same memory.
        mov     eax, [0xC0000000 + BI_MAGIC]
        cmp     eax, 0x42554D45
        jne     4f
        or      ebx, 1
4:      # Reading set the accessed bit of TEST_PAGE's entry, not the dirty bit; writing sets that too.
        mov     eax, [0xC0000000 + TEST_PAGE]
        mov     eax, [PT32 + TEST_PAGE / 1024]
        and     eax, 0x60
        cmp     eax, 0x20
        jne     5f
        or      ebx, 2
5:      mov     dword ptr [0xC0000000 + TEST_PAGE], 0xCAFE
        mov     eax, [PT32 + TEST_PAGE / 1024]
        and     eax, 0x60
        cmp     eax, 0x60
        jne     6f
        cmp     dword ptr [TEST_PAGE], 0xCAFE
        jne     6f
        or      ebx, 4
6:      # Nothing is mapped at 3 GiB + 4 MiB: #PF, error code 0 (not present, read, supervisor).
        call    forget_fault
        mov     dword ptr [resume], offset 7f
        mov     eax, [0xC0400123]
7:      cmp     dword ptr [fault_error], 0
        jne     8f
        cmp     dword ptr [fault_address], 0xC0400123
        jne     8f
        or      ebx, 8
8:      # With CR0.WP a read-only page is read-only for the supervisor too: error code 3.
        and     dword ptr [PT32 + TEST_PAGE / 1024], 0xFFFFFFFD
        invlpg  [TEST_PAGE]
        call    forget_fault
        mov     dword ptr [resume], offset 9f
        mov     dword ptr [TEST_PAGE], 0xBAD
9:      cmp     dword ptr [fault_error], 3
        jne     10f
        cmp     dword ptr [TEST_PAGE], 0xCAFE
        jne     10f
        or      ebx, 16
10:     # The 4 MiB page. Without PSE there is nothing to look at, and the bit is given.
        test    ebp, ebp
        jz      11f
        mov     eax, [0x800000 + BI_MAGIC]
        cmp     eax, 0x42554D45
        jne     12f
11:     or      ebx, 32
12:     mov     [BI_PG32_CHECKS], ebx

        # Off again: long mode can only be entered from unpaged mode.
        mov     eax, cr0
        and     eax, 0x7FFFFFFF
        mov     cr0, eax
        xor     eax, eax
        mov     cr3, eax
        mov     cr4, eax
        ret

# Copies the kernel's PT_LOAD segments to their physical addresses (ELF-64, "Program Header").
# Everything is below 4 GiB, so the low halves of the 64-bit fields are enough.
place_kernel:
        mov     ebx, KERNEL_BUFFER
        cmp     dword ptr [ebx], 0x464C457F
        jne     bad_kernel
        movzx   ebp, word ptr [ebx + 56]        # e_phnum
        add     ebx, [ebx + 32]                 # e_phoff
1:      cmp     dword ptr [ebx], 1              # PT_LOAD
        jne     2f
        mov     esi, [ebx + 8]                  # p_offset
        add     esi, KERNEL_BUFFER
        mov     edi, [ebx + 24]                 # p_paddr
        mov     ecx, [ebx + 32]                 # p_filesz
        mov     edx, ecx
        shr     ecx, 2
        rep     movsd
        mov     ecx, edx
        and     ecx, 3
        rep     movsb
        mov     ecx, [ebx + 40]                 # p_memsz: the rest is zero
        sub     ecx, edx
        xor     eax, eax
        mov     edx, ecx
        and     ecx, 3
        rep     stosb
        mov     ecx, edx
        shr     ecx, 2
        rep     stosd
2:      add     ebx, 56
        dec     ebp
        jnz     1b
        ret
bad_kernel:
        mov     esi, offset elf_message
        jmp     fatal32

# Long mode (SDM 3A, "Initializing IA-32e Mode"): PAE, CR3, EFER.LME, then PG.
# Physical 0 to 1 GiB appears at linear 0 and at FFFFFFFF80000000, in 2 MiB pages.
enter_long_mode:
        mov     eax, 0x80000000
        cpuid
        cmp     eax, 0x80000001
        jb      no_long_mode
        mov     eax, 0x80000001
        cpuid
        test    edx, 1 << 29
        jz      no_long_mode

        mov     edi, PML4
        mov     ecx, 0x3000 / 4
        xor     eax, eax
        rep     stosd
        mov     dword ptr [PML4], PDPT_LOW + 3
        mov     dword ptr [PML4 + 511 * 8], PDPT_HIGH + 3
        mov     dword ptr [PDPT_LOW], PD_2M + 3
        mov     dword ptr [PDPT_HIGH + 510 * 8], PD_2M + 3
        mov     edi, PD_2M
        mov     ecx, 512
        mov     eax, 0x83                       # present, writable, 2 MiB
1:      mov     [edi], eax
        mov     dword ptr [edi + 4], 0
        add     eax, 0x200000
        add     edi, 8
        loop    1b

        mov     eax, 1 << 5                     # CR4.PAE
        mov     cr4, eax
        mov     eax, PML4
        mov     cr3, eax
        mov     ecx, 0xC0000080                 # EFER
        rdmsr
        or      eax, 1 << 8                     # LME
        wrmsr
        mov     eax, cr0
        or      eax, 0x80000000
        mov     cr0, eax
        .byte   0xEA                            # JMP SEL_CODE64:long64
        .long   long64
        .word   SEL_CODE64

no_long_mode:
        mov     esi, offset cpu_message
fatal32:                                        # no BIOS any more: straight into the screen and COM1
        mov     edi, 0xB8000
        mov     ah, 0x4F
        mov     edx, 0x3F8
1:      lodsb
        test    al, al
        jz      2f
        stosw
        out     dx, al
        jmp     1b
2:      hlt
        jmp     2b

.section .loader64, "ax"
.code64
long64:
        xor     eax, eax                        # data segments do not matter in 64-bit mode
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     fs, eax
        mov     gs, eax
        mov     rax, cr0
        mov     [BI_LONG_CR0], eax
        mov     rax, cr4
        mov     [BI_LONG_CR4], eax
        mov     ecx, 0xC0000080
        rdmsr
        mov     [BI_LONG_EFER], eax
        mov     edi, BOOT_INFO
        mov     rax, [KERNEL_BUFFER + 24]       # e_entry, in the higher half
        jmp     rax

.section .loaderdata, "aw"
.balign 8
.global gdt_pointer
gdt:    .quad   0
        .quad   0x00CF9A000000FFFF      # code, 32 bits, base 0, 4 GiB
        .quad   0x00CF92000000FFFF      # data, 32 bits, base 0, 4 GiB
        .quad   0x00009A000000FFFF      # code, 16 bits, base 0, 64 KiB
        .quad   0x000092000000FFFF      # data, 16 bits, base 0, 64 KiB
        .quad   0x00AF9A000000FFFF      # code, 64 bits
        .quad   0x0040920000000FFF      # data, base 0, 4 KiB
gdt_end:
gdt_pointer:    .word   gdt_end - gdt - 1
                .long   gdt
idt32_pointer:  .word   15 * 8 - 1
                .long   IDT32
fault_vector:   .long   0
fault_error:    .long   0
fault_address:  .long   0
resume:         .long   0
elf_message:    .asciz  "boot: the kernel is no ELF file\r\n"
cpu_message:    .asciz  "boot: this processor has no long mode\r\n"
