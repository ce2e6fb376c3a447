# The first instructions in the higher half. The loader comes here with RDI = physical address of the boot
# information, interrupts off, the low 1 GiB mapped at 0 and at KERNEL_BASE.

.section .text.entry, "ax"
.global kernel_entry
kernel_entry:
        lea     rsp, [rip + boot_stack_top]

        # The compiled `core` uses SSE2 for moves and arithmetic, so SSE must work before the first Rust
        # function: CR0.EM = 0, CR0.MP = CR0.NE = 1, CR4.OSFXSR = CR4.OSXMMEXCPT = 1
        # (SDM 3A, "Initializing the SSE/SSE2 Extensions").
        mov     rax, cr0
        and     rax, ~(1 << 2)
        and     rax, ~(1 << 3)
        or      rax, (1 << 1) | (1 << 5)
        mov     cr0, rax
        mov     rax, cr4
        or      rax, (1 << 9) | (1 << 10)
        mov     cr4, rax
        fninit
        xor     ebp, ebp
        call    kernel_main
1:      cli
        hlt
        jmp     1b

.section .bss
.balign 4096
boot_stack_guard:
        .skip   4096
boot_stack:
        .skip   32768
.global boot_stack_top
boot_stack_top:
