# The loader, part one: what can only be done in real mode, because it takes the BIOS. Reads the kernel,
# opens A20, asks for the memory map; then a short stop in 16-bit protected mode.
# Every stage leaves evidence in BOOT_INFO, which the kernel's self-test looks at.

.include "defs.inc"

.section .loader, "ax"
.code16
.global loader
loader:
        mov     si, offset hello
        call    say

        # A clean BOOT_INFO.
        mov     di, BOOT_INFO
        mov     cx, 32
        xor     ax, ax
        rep     stosw
        mov     dword ptr [BI_MAGIC], 0x42554D45        # "EMUB"
        mov     al, [drive]
        mov     [BI_DRIVE], al
        mov     al, [method]
        mov     [BI_LOAD_METHOD], al

        # The kernel: many sectors with each call.
        mov     eax, [kernel_lba]
        mov     cx, [kernel_sectors]
        mov     bx, KERNEL_SEGMENT
        call    read_sectors

        call    real_mode_checks
        call    open_a20
        call    memory_map

        # 16-bit protected mode. No interrupts from here on until the kernel has its IDT.
        cli
        lgdt    [gdt_pointer]
        mov     eax, cr0
        or      al, 1                   # CR0.PE
        mov     cr0, eax
        .byte   0xEA                    # JMP SEL_CODE16:protected16
        .word   protected16, SEL_CODE16

protected16:
        mov     ax, SEL_DATA16
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     eax, cr0
        mov     [BI_PM16_CR0], eax
        xor     edx, edx
        mov     ax, cs
        cmp     ax, SEL_CODE16          # CS is a selector now, not a paragraph
        jne     1f
        or      dl, 1
1:      push    dword ptr 0x12345678    # 16-bit stack segment: SP moves, its upper half does not
        pop     eax
        cmp     eax, 0x12345678
        jne     2f
        or      dl, 2
2:      mov     ax, SEL_SMALL
        lsl     ecx, eax                # the limit, read from the descriptor table
        jnz     3f
        cmp     ecx, 0xFFF
        jne     3f
        or      dl, 4
3:      mov     [BI_PM16_CHECKS], edx
        .byte   0x66, 0xEA              # JMP SEL_CODE32:protected32, 32-bit offset
        .long   protected32
        .word   SEL_CODE32

# Three things that are only true in real mode. Each sets a bit.
real_mode_checks:
        mov     eax, cr0
        mov     [BI_REAL_CR0], eax
        xor     dx, dx
        # A linear address is segment * 16 + offset: 0050:0000 and 0000:0500 are one byte.
        mov     byte ptr [0x500], 0x5A
        mov     ax, 0x50
        mov     es, ax
        cmp     byte ptr es:[0], 0x5A
        jne     1f
        or      dl, 1
1:      # INT n goes through the vector table at 0: four bytes, offset and segment.
        xor     ax, ax
        mov     es, ax
        mov     word ptr [0x60 * 4], offset vector60
        mov     word ptr [0x60 * 4 + 2], 0
        mov     ax, 0x1234
        int     0x60
        cmp     ax, 0x1235
        jne     2f
        or      dl, 2
2:      # The 386 added 32-bit registers and addressing also here.
        mov     eax, 0x89ABCDEF
        mov     ebx, 0x500
        mov     [ebx], eax
        cmp     word ptr [0x502], 0x89AB
        jne     3f
        or      dl, 4
3:      mov     [BI_REAL_CHECKS], dx
        ret
vector60:
        inc     ax
        iret

# A20. Sets ZF when the gate is closed, so that 1 MiB wraps to 0: FFFF:0510 is then 0000:0500.
# Two values, since one could lie there by chance.
a20_closed:
        push    es
        mov     ax, 0xFFFF
        mov     es, ax
        mov     byte ptr [0x500], 0x11
        mov     byte ptr es:[0x510], 0x22
        cmp     byte ptr [0x500], 0x22
        jne     1f
        mov     byte ptr es:[0x510], 0x33
        cmp     byte ptr [0x500], 0x33
1:      pop     es
        ret

open_a20:
        # Close it first where port 92h can, to have something to open.
        in      al, 0x92
        and     al, 0xFC                # bit 1 = gate; bit 0 would reset the machine
        out     0x92, al
        call    a20_closed
        jne     1f
        mov     byte ptr [BI_A20_CLOSED], 1
        jmp     2f
1:      mov     byte ptr [BI_A20_METHOD], 1
        ret
2:      mov     ax, 0x2401              # the BIOS knows its own board best
        int     0x15
        mov     byte ptr [BI_A20_METHOD], 2
        call    a20_closed
        jne     9f
        call    a20_by_8042
        mov     byte ptr [BI_A20_METHOD], 3
        call    a20_closed
        jne     9f
        in      al, 0x92
        or      al, 2
        and     al, 0xFE
        out     0x92, al
        mov     byte ptr [BI_A20_METHOD], 4
        mov     cx, 0xFFFF              # a slow gate may take its time
3:      call    a20_closed
        jne     9f
        loop    3b
        mov     si, offset a20_message
        jmp     fatal
9:      ret

a20_by_8042:                            # command D1h: write the output port; its bit 1 is the gate
        cli
        call    wait_8042
        mov     al, 0xD1
        out     0x64, al
        call    wait_8042
        mov     al, 0xDF
        out     0x60, al
        call    wait_8042
        sti
        ret
wait_8042:                              # until the input buffer is empty, or we lose patience
        mov     cx, 0xFFFF
1:      in      al, 0x64
        test    al, 2
        loopnz  1b
        ret

# The memory map: INT 15h, E820h ("Query System Address Map"). Older BIOSes only know E801h or 88h.
memory_map:
        mov     di, BI_E820
        xor     ebx, ebx
        xor     bp, bp                  # entries so far
1:      mov     dword ptr [di + 20], 1  # ACPI 3.0 attributes, for a BIOS that returns 20 bytes
        mov     eax, 0xE820
        mov     edx, 0x534D4150         # "SMAP"
        mov     ecx, 24
        int     0x15
        jc      2f                      # carry after the first: the end of the list
        cmp     eax, 0x534D4150
        jne     2f
        mov     eax, [di + 8]
        or      eax, [di + 12]
        jz      3f                      # an empty range says nothing
        inc     bp
        add     di, 24
3:      test    ebx, ebx
        jz      2f
        cmp     bp, E820_MAX
        jb      1b
2:      mov     byte ptr [BI_E820_SOURCE], 1
        test    bp, bp
        jnz     8f

        mov     ax, 0xE801              # AX/CX: KiB from 1 to 16 MiB; BX/DX: 64 KiB blocks above 16 MiB
        xor     cx, cx
        xor     dx, dx
        int     0x15
        jc      5f
        mov     byte ptr [BI_E820_SOURCE], 2
        jcxz    4f
        mov     ax, cx
        mov     bx, dx
4:      movzx   ecx, ax
        shl     ecx, 10
        mov     eax, 0x100000
        call    add_range
        movzx   ecx, bx
        shl     ecx, 16
        mov     eax, 0x1000000
        call    add_range
        jmp     7f
5:      mov     ah, 0x88                # AX: KiB above 1 MiB
        int     0x15
        jc      6f
        mov     byte ptr [BI_E820_SOURCE], 3
        movzx   ecx, ax
        shl     ecx, 10
        mov     eax, 0x100000
        call    add_range
        jmp     7f
6:      mov     si, offset memory_message
        jmp     fatal
7:      int     0x12                    # conventional memory in KiB
        movzx   ecx, ax
        shl     ecx, 10
        xor     eax, eax
        call    add_range
8:      mov     [BI_E820_COUNT], bp
        ret

add_range:                              # one usable range: base EAX, length ECX, to entry BP at DI
        jecxz   1f
        mov     [di], eax
        mov     dword ptr [di + 4], 0
        mov     [di + 8], ecx
        mov     dword ptr [di + 12], 0
        mov     dword ptr [di + 16], 1
        mov     dword ptr [di + 20], 1
        add     di, 24
        inc     bp
1:      ret

hello:          .asciz "emu boot: loading the kernel\r\n"
a20_message:    .asciz "boot: A20 stays closed\r\n"
memory_message: .asciz "boot: the BIOS knows of no memory\r\n"
