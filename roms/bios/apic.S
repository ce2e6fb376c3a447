/* Local APIC: virtual wire mode, in which the 8259A pair's interrupts pass through LINT0.
 *
 * SDM 3A, "Local APIC State After Power-Up or Reset": every LVT entry is masked, so a processor with a
 * local APIC would never see IRQ 0. MultiProcessor Specification 1.4, "Virtual Wire Mode".
 * In: DS flat, protected mode. Clobbers EAX, EBX, ECX, EDX, EDI.
 * Left out: waking the other processors, which stay waiting for their start-up message.
 */
#include "common.inc"

#define APIC_BASE       0xFEE00000
#define APIC_SVR        0x0F0
#define APIC_LVT_LINT0  0x350
#define APIC_LVT_LINT1  0x360
#define SVR_ENABLE      0x100
#define DELIVER_NMI     0x400
#define DELIVER_EXTINT  0x700
#define EFLAGS_ID       0x200000        /* can be changed: there is CPUID */
#define FEATURE_APIC    9               /* CPUID leaf 1, EDX */

    .global local_apic_init, cpu_has_apic, cpu_has_cpuid
local_apic_init:
    call cpu_has_apic
    jc 1f
    mov edi, APIC_BASE
    mov dword ptr [edi + APIC_SVR], SVR_ENABLE | 0xFF
    mov dword ptr [edi + APIC_LVT_LINT0], DELIVER_EXTINT
    mov dword ptr [edi + APIC_LVT_LINT1], DELIVER_NMI
1:  ret

/* Out: CF set when the processor has no local APIC. Clobbers EAX, EBX, ECX, EDX. */
cpu_has_apic:
    call cpu_has_cpuid
    jc 1f
    mov eax, 1
    cpuid
    shr edx, FEATURE_APIC + 1           // its bit to CF
    cmc
1:  ret

/* Out: CF set when the processor does not know CPUID. Clobbers EAX, ECX. */
cpu_has_cpuid:
    pushfd
    pop eax
    mov ecx, eax
    xor eax, EFLAGS_ID
    push eax
    popfd
    pushfd
    pop eax
    xor eax, ecx
    cmp eax, EFLAGS_ID                  // CF when the bit did not change
    ret
