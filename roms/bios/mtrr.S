/* Memory types and caches. SDM 3A, "Memory Type Range Registers (MTRRs)", "Cache Control".
 *
 * After reset the caches are off and every address is uncacheable. Out: write-back by default; the hole for
 * devices below 4 GiB and A0000h-BFFFFh uncacheable; C0000h-FFFFFh write-protected; caches on.
 * A processor without MTRRs only has its caches turned on.
 * In: memory_low_top. Clobbers EAX, EBX, ECX, EDX, SI.
 * The other processors do the same, see processors.S.
 */
#include "common.inc"

#define MSR_MTRRCAP     0x0FE           /* bit 8: there are fixed ranges */
#define MSR_PHYSBASE0   0x200
#define MSR_PHYSMASK0   0x201
#define MSR_DEFAULT     0x2FF
#define FEATURE_MTRR    (1 << 12)
#define UNCACHEABLE     0x00
#define WRITE_BACK      0x06
#define DEFAULT_ENABLE  0x0C00          /* E and FE */
#define MASK_VALID      0x0800
#define CR0_CACHE_OFF   0x60000000      /* CD and NW */

    .global cache_init
cache_init:
    call cpu_has_cpuid
    jc 9f
    mov eax, 1
    cpuid
    test edx, FEATURE_MTRR
    jz 8f
    mov ecx, MSR_MTRRCAP
    rdmsr
    test ah, 1
    jz 2f
    mov si, offset fixed_ranges
1:  movzx ecx, word ptr cs:[si]
    mov eax, cs:[si + 2]                // eight ranges of one type
    mov edx, eax
    wrmsr
    add si, 6
    cmp si, offset fixed_ranges_end
    jb 1b

/* One uncacheable range: the last gigabyte below 4 GiB, or half of it when RAM reaches further up. */
2:  mov ebx, 0xC0000000
    cmp cs:[memory_low_top], ebx
    jbe 3f
    mov ebx, 0xE0000000
3:  mov eax, ebx                        // UNCACHEABLE is 0
    xor edx, edx
    mov ecx, MSR_PHYSBASE0
    wrmsr
    call address_mask                   // EDX = implemented bits above 31
    mov eax, ebx                        // 4 GiB less the range's size is its base: so base and mask agree
    or eax, MASK_VALID
    mov ecx, MSR_PHYSMASK0
    wrmsr
    xor edx, edx
    mov eax, DEFAULT_ENABLE | WRITE_BACK
    mov ecx, MSR_DEFAULT
    wrmsr
8:  wbinvd
9:  mov eax, cr0
    and eax, ~CR0_CACHE_OFF
    mov cr0, eax
    ret

/* Out: EDX = physical address bits 32 and up that the processor has, by CPUID 80000008h, else 36 bits' worth.
 * Clobbers EAX, ECX; keeps EBX. */
address_mask:
    push ebx
    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000008
    mov cl, 36
    jb 1f
    mov eax, 0x80000008
    cpuid
    mov cl, al
1:  pop ebx
    sub cl, 32
    mov edx, 1
    shl edx, cl
    dec edx
    ret

.macro FIXED msr, type
    .word \msr
    .long \type * 0x01010101
.endm
fixed_ranges:
    FIXED 0x250, WRITE_BACK             // 0-7FFFFh
    FIXED 0x258, WRITE_BACK             // 80000h-9FFFFh
    FIXED 0x259, UNCACHEABLE            // A0000h-BFFFFh
    FIXED 0x268, 0x05                   // C0000h on: write-protected
    FIXED 0x269, 0x05
    FIXED 0x26A, 0x05
    FIXED 0x26B, 0x05
    FIXED 0x26C, 0x05
    FIXED 0x26D, 0x05
    FIXED 0x26E, 0x05
    FIXED 0x26F, 0x05
fixed_ranges_end:
