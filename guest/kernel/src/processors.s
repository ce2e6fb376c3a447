# The other processors' way from the start-up message to the kernel, and what they do there.

# --- Copied to START_PAGE, where they begin in real mode with CS:IP = page << 8 : 0.
# What lies from 0xC0 on is filled in before; processors.rs has the same numbers.
.section .rodata
.balign 16
.global processor_start
processor_start:
.code16
        cli
        mov     ax, cs
        mov     ds, ax
        lgdtd   [0xD8]
        # From real mode to long mode in one step (SDM 3A, "Initializing IA-32e Mode").
        mov     eax, [0xC4]
        mov     cr4, eax
        mov     eax, [0xC0]
        mov     cr3, eax
        mov     ecx, 0xC0000080
        mov     eax, [0xC8]
        xor     edx, edx
        wrmsr
        mov     eax, 0x80010033         # PG, WP, NE, ET, MP, PE
        mov     cr0, eax
        .byte   0x66, 0xEA              # far jump: offset filled in, selector 8
.global processor_far_offset
processor_far_offset:
        .long   0
        .word   8
.code64
.global processor_long
processor_long:
        jmp     [rip + processor_entry]

        .org    processor_start + 0xC0
        .long   0                       # 0xC0: CR3
        .long   0                       # 0xC4: CR4
        .quad   0                       # 0xC8: EFER
processor_entry:
        .quad   0                       # 0xD0: where to go
        .word   15                      # 0xD8: GDTR
        .long   0
        .word   0
        .quad   0                       # 0xE0: GDT
        .quad   0x00209B0000000000      # 64-bit code
.global processor_start_end
processor_start_end:

# --- In the kernel's text, without a stack: says that it is there, waits to be asked, adds up under the lock, and
# sleeps until the next INIT.
.section .text
.global processor_work
processor_work:
        lock inc dword ptr [rip + PROCESSORS_STARTED]
1:      pause
        cmp     dword ptr [rip + PROCESSORS_GO], 0
        je      1b
        mov     ecx, dword ptr [rip + PROCESSORS_ROUNDS]
2:      mov     eax, 1
        xchg    dword ptr [rip + PROCESSORS_LOCK], eax
        test    eax, eax
        jz      3f
        pause
        jmp     2b
3:      mov     edx, dword ptr [rip + PROCESSORS_SUM]
        mov     eax, 20                 # so long that others come between, if they can
4:      dec     eax
        jnz     4b
        inc     edx
        mov     dword ptr [rip + PROCESSORS_SUM], edx
        mov     dword ptr [rip + PROCESSORS_LOCK], 0
        dec     ecx
        jnz     2b
        lock inc dword ptr [rip + PROCESSORS_DONE]
5:      cli
        hlt
        jmp     5b
