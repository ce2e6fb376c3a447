# All ways into the kernel: 256 stubs for exceptions and interrupts, and SYSCALL.
#
# Red zone. The compiled `core` may keep data in the 128 bytes below RSP (System V ABI), where the processor
# would push its frame. So every gate uses an IST stack, and the common code then moves the frame to where
# it can stay: the task's kernel stack when ring 3 was interrupted, 128 bytes below the old RSP otherwise.
# After that the IST stack is free for the next one. A double fault, NMI, stack fault or machine check may have
# come because RSP is no good: it stays on its own IST stack.

# --- Stubs: 16 bytes each. Where the processor pushes no error code, push a zero in its place.
.section .text
.balign 16
.global trap_stubs
trap_stubs:
.irp high, 0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f
.irp low, 0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f
        .balign 16
        .if (0x\high\low == 8) || ((0x\high\low >= 10) && (0x\high\low <= 14)) || (0x\high\low == 17) || (0x\high\low == 21)
        .else
        push    0
        .endif
        push    0x\high\low
        jmp     trap_common
.endr
.endr

.macro push_registers
        push    rax
        push    rbx
        push    rcx
        push    rdx
        push    rsi
        push    rdi
        push    rbp
        push    r8
        push    r9
        push    r10
        push    r11
        push    r12
        push    r13
        push    r14
        push    r15
.endm

.macro pop_registers
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rbp
        pop     rdi
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rbx
        pop     rax
.endm

# Calls trap_dispatch(frame at RSP) with a clean FPU; what the FPU and SSE registers held comes back after.
.macro call_dispatch
        mov     rdi, rsp
        clts                            # or FXSAVE would fault; the kernel itself never leaves CR0.TS set
        sub     rsp, 512
        fxsave64 [rsp]
        fninit
        ldmxcsr [rip + mxcsr_default]
        call    trap_dispatch
        fxrstor64 [rsp]
        add     rsp, 512
.endm

.set FRAME_SIZE,   22 * 8           # struct Frame of trap.rs
.set FRAME_VECTOR, 15 * 8
.set FRAME_CS,     18 * 8
.set FRAME_RSP,    20 * 8

.balign 16
trap_common:
        cld
        push_registers
        test    byte ptr [rsp + FRAME_CS], 3
        jnz     1f
        mov     rax, [rsp + FRAME_RSP]
        mov     ecx, [rsp + FRAME_VECTOR]
        cmp     ecx, 18                 # 2, 8, 12 and 18 stay
        ja      2f
        mov     edx, (1 << 2) | (1 << 8) | (1 << 12) | (1 << 18)
        bt      edx, ecx
        jc      3f
2:      sub     rax, 128
        jmp     4f
1:      mov     rax, [rip + kernel_stack_top]
4:      and     rax, -16
        sub     rax, FRAME_SIZE
        mov     rsi, rsp
        mov     rdi, rax
        mov     ecx, FRAME_SIZE / 8
        rep     movsq
        mov     rsp, rax
3:      call_dispatch
        pop_registers
        add     rsp, 16                 # vector and error code
        iretq

# SYSCALL (SDM 2B): RIP came in RCX, RFLAGS in R11, RSP is still the user's, interrupts are off (SFMASK).
# Build the same frame as an interrupt would.
.balign 16
.global syscall_entry
syscall_entry:
        mov     [rip + user_stack], rsp
        mov     rsp, [rip + kernel_stack_top]
        push    0x23                    # user data with RPL 3
        push    [rip + user_stack]
        push    r11
        push    0x2B                    # user code with RPL 3
        push    rcx
        push    0
        push    0x100                   # the pseudo vector of SYSCALL
        push_registers
        call_dispatch
        pop_registers
        add     rsp, 16
        pop     rcx                     # RIP; never non-canonical, see USER_END in paging.rs
        add     rsp, 8                  # CS
        pop     r11                     # RFLAGS
        pop     rsp                     # interrupts are off: nobody sees this stack in ring 0
        sysretq

# enter_user(entry, stack, argument): into ring 3 for the first time, with nothing of ours in any register.
.global enter_user
enter_user:
        cli
        push    0x23
        push    rsi
        push    0x202                   # IF
        push    0x2B
        push    rdi
        mov     rdi, rdx
        xor     eax, eax
        xor     ebx, ebx
        xor     ecx, ecx
        xor     edx, edx
        xor     esi, esi
        xor     ebp, ebp
        xor     r8d, r8d
        xor     r9d, r9d
        xor     r10d, r10d
        xor     r11d, r11d
        xor     r12d, r12d
        xor     r13d, r13d
        xor     r14d, r14d
        xor     r15d, r15d
        fxrstor64 [rip + fresh_fpu]
        iretq

# switch_stacks(&mut old_rsp, new_rsp): the context switch. What a called function must preserve goes onto
# the old stack, with all FPU and SSE state; the same comes off the new one, where it returns to whoever
# called switch_stacks from there.
.global switch_stacks
switch_stacks:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        sub     rsp, 512 + 8            # FXSAVE wants 16-byte alignment
        fxsave64 [rsp]
        mov     [rdi], rsp
        mov     rsp, rsi
        fxrstor64 [rsp]
        add     rsp, 512 + 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

# Where a new task's first switch_stacks returns to.
.global task_begin
task_begin:
        call    task_start
        ud2

# probe(code) runs code() and tells how it ended: 0, or 1 when an exception in ring 0 came on the way. The
# trap handler then continues at probe_fault with the stack of probe_stack.
.global probe
probe:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        sub     rsp, 8
        mov     [rip + probe_stack], rsp
        call    rdi
        xor     eax, eax
        jmp     1f
.global probe_fault
probe_fault:
        mov     eax, 1
1:      mov     qword ptr [rip + probe_stack], 0
        add     rsp, 8
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

.section .rodata
.balign 4
mxcsr_default:  .long 0x1F80
.balign 16
.global fresh_fpu
fresh_fpu:                              # the FXSAVE image of a new task: FCW 037F, MXCSR 1F80, all else zero
        .word   0x037F, 0
        .long   0, 0, 0, 0, 0
        .long   0x1F80
        .skip   512 - 28

.section .bss
.balign 8
.global kernel_stack_top, probe_stack
kernel_stack_top: .skip 8
user_stack:     .skip 8
probe_stack:    .skip 8
