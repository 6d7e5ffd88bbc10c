/*
 * A program that walks about in pages of all sizes, for test_tlb_trace.py, without an
 * operating system.
 *
 * 64 KiB of ROM.  Its own code, its stack and the tables are in a large page at 0.  STEPS times
 * it draws what to do: load, store, add to memory, also across two pages; call a page that
 * returns at once, or whose only instruction but that goes on in the next page; seldom a new
 * CR3, INVLPG, all global pages out (CR4), a port of a device, a register of a device.
 *
 *      1 GB            1024 pages of 4 KiB of data.  Each third one is global, each fifth is dirty
 *                      already
 *      1 GB + 4 MB     512 pages of code
 *      1 GB + 8 MB     one page: registers of the I/O APIC
 *      1 GB + 64 MB    64 pages of 2 MB of code and data, half of them global, half dirty
 *      2 GB            2 pages of 1 GB, data only
 *
 * The code has 32 bits, the tables four levels: it runs in compatibility mode.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "x86-rom.S"

#define PDPT 0x10000
#define PD 0x11000
#define PD_OF_DATA 0x12000
#define PML4 0x13000
#define PML4_TOO 0x14000                /* the same, at another place */
#define PT_OF_DATA 0x15000              /* two tables */
#define PT_OF_CODE 0x17000
#define PT_OF_DEVICE 0x18000
#define STACK 0x20000
#define DATA_FRAMES 0x400000
#define CODE_FRAMES 0x800000
#define LARGE_FRAMES 0x1000000
#define DATA 0x40000000
#define CODE (DATA + 0x400000)
#define DEVICE (DATA + 0x800000)
#define LARGE (DATA + 0x4000000)
#define HUGE 0x80000000
#define TABLE 0x23                      /* present, may be written, accessed */
#define PAGE 0x63                       /* the same, and dirty */
#define OF_LARGE 0xe3
#define GLOBAL 0x100
#define DIRTY 0x40

        .macro  draw                    # the next pseudo-random number: %ebx
        imul    $1664525, %ebx
        add     $1013904223, %ebx
        mov     %ebx, %eax
        shr     $8, %eax
        .endm

        rom_begin
        rom_protected
        mov     %eax, %es
        mov     %eax, %ss
        mov     $STACK, %esp

        movl    $OF_LARGE, PD
        movl    $PD + TABLE, PDPT
        movl    $PD_OF_DATA + TABLE, PDPT + 8
        movl    $OF_LARGE, PDPT + 16
        movl    $OF_LARGE + GLOBAL, PDPT + 24
        movl    $PDPT + TABLE, PML4
        movl    $PDPT + TABLE, PML4_TOO
        movl    $PT_OF_DATA + TABLE, PD_OF_DATA
        movl    $PT_OF_DATA + 0x1000 + TABLE, PD_OF_DATA + 8
        movl    $PT_OF_CODE + TABLE, PD_OF_DATA + 16
        movl    $PT_OF_DEVICE + TABLE, PD_OF_DATA + 32
        movl    $0xfec00000 + PAGE, PT_OF_DEVICE

        xor     %esi, %esi              # pages of data
1:      mov     %esi, %eax
        shl     $12, %eax
        add     $DATA_FRAMES + PAGE, %eax
        mov     %eax, %edi
        mov     %esi, %eax
        xor     %edx, %edx
        mov     $3, %ecx
        div     %ecx
        test    %edx, %edx
        jnz     2f
        or      $GLOBAL, %edi
2:      mov     %esi, %eax
        xor     %edx, %edx
        mov     $5, %ecx
        div     %ecx
        test    %edx, %edx
        jz      3f
        and     $~DIRTY, %edi
3:      mov     %edi, PT_OF_DATA(, %esi, 8)
        inc     %esi
        cmp     $1024, %esi
        jne     1b

        xor     %esi, %esi              # pages of code
1:      mov     %esi, %eax
        shl     $12, %eax
        movl    $0xc3c3c3c3, CODE_FRAMES + 0x800(%eax)  # ret
        movw    $0x00b8, CODE_FRAMES + 0xffe(%eax)      # mov $..., %eax, and the rest
        movl    $0xc3000000, CODE_FRAMES(%eax)          # of it: ret
        add     $CODE_FRAMES + PAGE, %eax
        mov     %eax, PT_OF_CODE(, %esi, 8)
        inc     %esi
        cmp     $512, %esi
        jne     1b

        xor     %esi, %esi              # large ones
1:      mov     %esi, %eax
        shl     $21, %eax
        movl    $0xc3c3c3c3, LARGE_FRAMES(%eax)
        add     $LARGE_FRAMES + OF_LARGE, %eax
        test    $1, %esi
        jz      2f
        or      $GLOBAL, %eax
2:      test    $2, %esi
        jz      3f
        and     $~DIRTY, %eax
3:      mov     %eax, PD_OF_DATA + 32 * 8(, %esi, 8)
        inc     %esi
        cmp     $64, %esi
        jne     1b

        rom_long_mode 0xa0, PML4   # PAE, global pages
        mov     %cr0, %eax
        or      $0x80000000, %eax
        mov     %eax, %cr0
        jmp     1f
1:      mov     $SEED, %ebx
        mov     $STEPS, %ebp

step:   draw                            # a page: %esi, lower ones more often
        mov     %eax, %esi
        draw
        mov     %eax, %ecx
        and     %eax, %esi
        shr     $10, %ecx               # what to do: 0 to 255
        and     $255, %ecx
        draw                            # where: %edi
        mov     %eax, %edi
        cmp     $64, %ecx
        jb      load
        cmp     $96, %ecx
        jb      store
        cmp     $112, %ecx
        jb      plus
        cmp     $136, %ecx
        jb      load_large
        cmp     $144, %ecx
        jb      store_large
        cmp     $192, %ecx
        jb      code
        cmp     $208, %ecx
        jb      code_of_two
        cmp     $232, %ecx
        jb      code_large
        cmp     $240, %ecx
        jb      huge
        cmp     $242, %ecx
        jb      two
        draw                            # seldom: one in 4 of these
        test    $0x30, %eax
        jnz     next
        cmp     $245, %ecx
        jb      new_root
        cmp     $249, %ecx
        jb      invalidate
        cmp     $251, %ecx
        jb      invalidate_large
        cmp     $252, %ecx
        jb      invalidate_huge
        cmp     $253, %ecx
        jb      all_out
        cmp     $255, %ecx
        jb      port
        mov     DEVICE, %eax
next:   dec     %ebp
        jnz     step
        quit

        .macro  small                   # %esi: an address in a page of 4 KiB
        and     $1023, %esi
        shl     $12, %esi
        and     $0x7fc, %edi
        lea     DATA(%esi, %edi), %esi
        .endm
        .macro  large
        and     $63, %esi
        shl     $21, %esi
        and     $0x1ffff8, %edi
        or      $0x1000, %edi
        lea     LARGE(%esi, %edi), %esi
        .endm

load:   small
        mov     (%esi), %eax
        jmp     next
store:  small
        mov     %eax, (%esi)
        jmp     next
plus:   small
        add     %eax, (%esi)
        jmp     next
two:    and     $511, %esi              # the last bytes of a page, the first of another
        shl     $12, %esi
        test    $1, %edi
        jz      1f
        mov     DATA + 0xffe(%esi), %eax
        jmp     next
1:      mov     %eax, DATA + 0xffd(%esi)
        jmp     next
load_large:
        large
        mov     (%esi), %eax
        jmp     next
store_large:
        large
        mov     %eax, (%esi)
        jmp     next
huge:   and     $1, %esi
        shl     $30, %esi
        and     $0x0ffffff8, %edi       # there are 256 MiB
        or      $0x100000, %edi
        mov     HUGE(%esi, %edi), %eax
        jmp     next
code:   and     $511, %esi
        shl     $12, %esi
        add     $CODE + 0x800, %esi
        call    *%esi
        jmp     next
code_of_two:
        and     $255, %esi
        shl     $12, %esi
        add     $CODE + 0xffe, %esi
        call    *%esi
        jmp     next
code_large:
        and     $63, %esi
        shl     $21, %esi
        add     $LARGE, %esi
        call    *%esi
        jmp     next
new_root:
        mov     %cr3, %eax
        test    $1, %edi
        jz      1f
        xor     $PML4 ^ PML4_TOO, %eax
1:      mov     %eax, %cr3
        jmp     next
invalidate:
        small
        invlpg  (%esi)
        jmp     next
invalidate_large:
        large
        invlpg  (%esi)
        jmp     next
invalidate_huge:
        and     $1, %esi
        shl     $30, %esi
        add     $HUGE + 0x12345678, %esi
        invlpg  (%esi)
        jmp     next
all_out:
        mov     %cr4, %eax
        xor     $0x80, %eax
        mov     %eax, %cr4
        xor     $0x80, %eax
        mov     %eax, %cr4
        jmp     next
port:   out     %al, $0x80
        jmp     next

        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # 32-bit code, accessed
        .quad   0x00cf93000000ffff      # data
gdtr:   .word   gdtr - gdt - 1
        .long   0xf0000 + gdt

        rom_end
