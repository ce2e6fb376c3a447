/* Tables that the board offers by fw_cfg for the operating system: ACPI and SMBIOS, loaded as the scripts say.
 *
 * The file "etc/table-loader" is a script of commands of 128 bytes, numbers little-endian, names of 56 bytes:
 *   1 allocate: +4 name, +60 alignment, +64 zone (1 below 4 GiB, 2 F0000h-FFFFFh). Loads the file.
 *   2 add pointer: +4 name, +60 name of another file, +116 offset, +120 size. Adds the other file's address there.
 *   3 add checksum: +4 name, +60 offset, +64 start, +68 length. Subtracts the sum of that range from a byte.
 * SMBIOS comes without a script; ours for it is below (DMTF DSP0134, "SMBIOS 2.1 (32-bit) Entry Point").
 *
 * Out: memory_usable_top, the end of RAM below 4 GiB less what was taken for tables.
 * A command that names an unknown file, or reaches past the end of one, is passed over, as is any other command.
 * Left out: scripts of 64 KiB and more.
 */
#include "common.inc"

#define BIOS_BASE       0xF0000

#define SCRIPT_SEG      0x1000          /* conventional memory, of which POST uses only the start */
#define SCRIPT_BASE     0x10000
#define COMMAND_SIZE    128
#define ALLOCATE        1
#define ADD_POINTER     2
#define ADD_CHECKSUM    3
#define ZONE_HIGH       1
#define ZONE_F_SEGMENT  2

#define NAME_LENGTH     56
#define FILES_MAX       12
#define FILE_SIZE       64              /* a record: name, address, size */
#define FILE_ADDRESS    56
#define FILE_BYTES      60
#define PLACE_SIZE      0x100           /* what zone 2 can take */
#define LOWEST          0x00200000      /* tables stay above this */

    .global tables_load, memory_usable_top

/* Clobbers everything but DS, ES, SS:SP. */
tables_load:
    push ds
    push es
    push fs
    mov eax, cs:[memory_low_top]
    mov cs:[memory_usable_top], eax
    mov dword ptr cs:[place_next], offset place + BIOS_BASE
    mov dword ptr cs:[files_end], offset files + BIOS_BASE
    xor ecx, ecx
    mov si, offset script_file
    call fw_cfg_find
    jc 1f
    cmp ecx, 0x10000
    jb 2f
1:  xor ecx, ecx
2:  mov ebp, ecx                        // bytes of the script
    push SCRIPT_SEG
    pop es
    xor di, di
    call fw_cfg_read

    call flat_enter
    mov ebx, SCRIPT_BASE
    add ebp, ebx
    call run_script
    mov ebx, offset smbios_script + BIOS_BASE
    mov ebp, offset smbios_script_end + BIOS_BASE
    call run_script
    and word ptr fs:[memory_usable_top], 0xF000
    call flat_leave
    pop fs
    pop es
    pop ds
    ret

/* In: EBX to EBP = the script. Clobbers all but SP. */
run_script:
    lea eax, [ebx + COMMAND_SIZE]
    cmp eax, ebp
    ja 9f
    push eax
    mov eax, [ebx]
    cmp eax, ALLOCATE
    jne 1f
    call allocate
1:  cmp eax, ADD_POINTER
    jne 2f
    call add_pointer
2:  cmp eax, ADD_CHECKSUM
    jne 3f
    call add_checksum
3:  pop ebx
    jmp run_script
9:  ret

/* In: ESI = a name. Out: EDI = the record of the file with it, or CF. Clobbers ECX, ESI. */
find_loaded:
    mov edi, offset files + BIOS_BASE
1:  cmp edi, fs:[files_end]
    je 3f
    push esi
    push edi
    mov ecx, NAME_LENGTH
    repe cmpsb [esi], [edi]
    pop edi
    pop esi
    je 2f                               // CF is clear
    add edi, FILE_SIZE
    jmp 1b
3:  stc
2:  ret

/* In: EBX = command, EDI = a file's record, ECX = offset, EDX = bytes. Out: ECX = their address, or CF when they
 * do not lie in the file. Clobbers EDX. */
locate:
    add edx, ecx
    jc 1f
    cmp [edi + FILE_BYTES], edx
    jc 1f
    add ecx, [edi + FILE_ADDRESS]
    clc
1:  ret

/* The commands. In: EBX = the command. They clobber all but EBX, EBP, SP, and leave EAX = 0. */
allocate:
    cmp dword ptr fs:[files_end], offset files + BIOS_BASE + FILES_MAX * FILE_SIZE
    je 9f
    lea esi, [ebx + 4]
    mov edi, fs:[files_end]
    mov ecx, NAME_LENGTH
    rep movsb [edi], [esi]
    mov byte ptr [edi - 1], 0
    lea esi, [edi - NAME_LENGTH - BIOS_BASE]
    call fw_cfg_find                    // ECX = its size
    jc 9f
    mov edx, [ebx + 60]
    dec edx                             // alignment less one
    mov al, [ebx + 64]
    cmp al, ZONE_HIGH
    je 1f
    cmp al, ZONE_F_SEGMENT
    jne 9f
    mov eax, fs:[place_next]
    add eax, edx
    not edx
    and eax, edx
    lea edx, [eax + ecx]
    cmp edx, offset place + BIOS_BASE + PLACE_SIZE
    ja 9f
    cmp ecx, PLACE_SIZE
    ja 9f
    mov fs:[place_next], edx
    jmp 2f
1:  mov eax, fs:[memory_usable_top]
    sub eax, ecx
    jc 9f
    not edx
    and eax, edx
    cmp eax, LOWEST
    jb 9f
    mov fs:[memory_usable_top], eax
2:  mov edi, fs:[files_end]
    mov [edi + FILE_ADDRESS], eax
    mov [edi + FILE_BYTES], ecx
    add edi, FILE_SIZE
    mov fs:[files_end], edi
    mov edi, eax
    mov dx, FW_CFG_DATA
    rep insb [edi], dx
9:  xor eax, eax
    ret

add_pointer:
    lea esi, [ebx + 60]
    call find_loaded
    jc 9f
    push dword ptr [edi + FILE_ADDRESS]
    lea esi, [ebx + 4]
    call find_loaded
    pop eax
    jc 9f
    movzx edx, byte ptr [ebx + 120]
    push edx
    mov ecx, [ebx + 116]
    call locate
    pop edx
    jc 9f
    cmp dl, 4
    je 1f
    cmp dl, 8
    jne 9f
    add [ecx], eax
    adc dword ptr [ecx + 4], 0
    jmp 9f
1:  add [ecx], eax
9:  xor eax, eax
    ret

add_checksum:
    lea esi, [ebx + 4]
    call find_loaded
    jc 9f
    mov ecx, [ebx + 60]
    mov edx, 1
    call locate
    jc 9f
    mov esi, ecx                        // the checksum
    mov ecx, [ebx + 64]
    mov edx, [ebx + 68]
    call locate
    jc 9f
    mov edx, [ebx + 68]
    xor al, al
1:  sub edx, 1
    jc 2f
    add al, [ecx]
    inc ecx
    jmp 1b
2:  sub [esi], al
9:  xor eax, eax
    ret

script_file: .asciz "etc/table-loader"

.macro NAME text
9:  .ascii "\text"
    .org 9b + NAME_LENGTH
.endm
.macro COMMAND_END
    .org command + COMMAND_SIZE
.endm
#define TABLES  "etc/smbios/smbios-tables"
#define ANCHOR  "etc/smbios/smbios-anchor"

/* The entry point's structure table address, and its two checksums. */
smbios_script:
    .set command, .
    .long ALLOCATE
    NAME TABLES
    .long 16
    .byte ZONE_HIGH
    COMMAND_END
    .set command, .
    .long ALLOCATE
    NAME ANCHOR
    .long 16
    .byte ZONE_F_SEGMENT
    COMMAND_END
    .set command, .
    .long ADD_POINTER
    NAME ANCHOR
    NAME TABLES
    .long 0x18
    .byte 4
    COMMAND_END
    .set command, .
    .long ADD_CHECKSUM
    NAME ANCHOR
    .long 0x15, 0x10, 0x0F
    COMMAND_END
    .set command, .
    .long ADD_CHECKSUM
    NAME ANCHOR
    .long 0x04, 0x00, 0x1F
    COMMAND_END
smbios_script_end:

    .balign 4
memory_usable_top: .long 0
place_next:        .long 0              // linear address: what is free of the place
files_end:         .long 0              // linear address behind the last record
    .balign 16
place: .skip PLACE_SIZE
files: .skip FILES_MAX * FILE_SIZE
