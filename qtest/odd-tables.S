/*
 * Page tables that change in odd ways, a step each, without an operating system.
 *
 * 64 KiB of ROM.  FORMAT is the number of levels: 2 (32 bits) or 4.  The number at 0xff00 says
 * how many steps are done; then, or where a value is not what the tables say, the word at
 * RESULT is "good", or the number of the step, and QEMU ends.  Code, stack and tables are in a
 * large page at 0, which is global; the tables are written through it, with physical addresses.
 *
 *      V + 4 KiB * n   pages of 4 KiB at 1 GB, of the table PT
 *      LARGE           a large page, or what takes its place, of the next entry of the directory
 *      THIRD, FOURTH   the entries behind it
 *      SELF            all tables: an entry of the root leads to the root
 *
 * Frame n of 4 KiB begins with the word 0x1000 + n.  A page fault writes %edx to the entry at
 * %ebx, counts, and goes back, or to what follows SKIP bytes behind.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "x86-rom.S"

#define RESULT 0x9000
#define FAULTS 0x9004
#define SKIP 0x9008                     /* bytes of code that the fault handler passes over */
#define GOOD 0x600d
#define STACK 0x8000

#define PML4 0x10000
#define PDPT 0x11000
#define PD_OF_CODE 0x12000
#define PT 0x14000
#define PT_TOO 0x15000                  /* of the small pages in place of the large one */
#define PT_OTHER 0x16000                /* in place of PT */

#define W 0x2
#define A 0x20
#define D 0x40
#define IS_LARGE 0x80
#define G 0x100
#define TABLE 0x23                      /* present, may be written, accessed */
#define PAGE 0x63                       /* the same, and dirty */
#define READABLE 0x61                   /* a page that may not be written */
#define V 0x40000000

#if FORMAT == 2
#define ENTRY 4
#define SPAN 0x400000                   /* of an entry of the directory */
#define PD 0x13000
#define DIRECTORY (PD + 0x400)          /* from 1 GB on */
#define ROOT PD
#define OTHER_ROOT 0x17000
#define SELF_ENTRY (PD + 0xffc)
#define SELF_TABLE PD
#define SELF_OF_PT 0xffd00000           /* PT as a page */
#define SELF_OF_DIRECTORY 0xfffff400    /* its part from 1 GB on */
#else
#define ENTRY 8
#define SPAN 0x200000
#define DIRECTORY 0x13000
#define ROOT PML4
#define OTHER_ROOT 0x17000
#define SELF_ENTRY (PDPT + 0x18)
#define SELF_TABLE PDPT
#define SELF_OF_PT 0xc0200000
#define SELF_OF_DIRECTORY 0xc0601000
#endif

#define LARGE (V + SPAN)
#define THIRD (V + 2 * SPAN)
#define FOURTH (V + 3 * SPAN)
#define FRAMES 0x400000
#define FRAME(n) (FRAMES + (n) * 0x1000)
#define LARGE_FRAME 0x800000            /* words at 0x3000 and 0x5000: 0x2003 and 0x2005 */
#define LARGE_FRAME_TOO 0xc00000        /* 0x3003 and 0x3005 */

        .macro  step number
        mov     $\number, %esi
        cmp     %esi, %ebp
        jb      done
        .endm

        .macro  load address, value     # and compare
        cmpl    $\value, \address
        jne     bad
        .endm

        .macro  put table, number, value
        movl    $\value, \table + \number * ENTRY
        .endm

        .macro  bits table, number, value       # A and D of an entry
        mov     \table + \number * ENTRY, %eax
        and     $A + D, %eax
        cmp     $\value, %eax
        jne     bad
        .endm

        .macro  repair table, number, value     # what the next fault does
        mov     $\table + \number * ENTRY, %ebx
        mov     $\value, %edx
        .endm

        .macro  faulted times
        cmpl    $\times, FAULTS
        jne     bad
        .endm

        .macro  new_root root=ROOT
        mov     $\root, %eax
        mov     %eax, %cr3
        .endm

        rom_begin
        rom_protected
        mov     %eax, %ss
        mov     $STACK, %esp
        lidtl   0xf0000 + idtr

        mov     $FRAMES, %edi           # words of frames
        mov     $0x1000, %eax
        mov     $32, %ecx
1:      mov     %eax, (%edi)
        inc     %eax
        add     $0x1000, %edi
        loop    1b
        movl    $0x2003, LARGE_FRAME + 0x3000
        movl    $0x2005, LARGE_FRAME + 0x5000
        movl    $0x3003, LARGE_FRAME_TOO + 0x3000
        movl    $0x3005, LARGE_FRAME_TOO + 0x5000

#if FORMAT == 2
        movl    $PAGE + IS_LARGE + G, PD
        movl    $PT + TABLE, OTHER_ROOT + 0x400
        movl    $PAGE + IS_LARGE + G, OTHER_ROOT
        movl    $PD + TABLE, SELF_ENTRY
#else
        movl    $PDPT + TABLE, PML4
        movl    $PDPT + TABLE, OTHER_ROOT
        movl    $PD_OF_CODE + TABLE, PDPT
        movl    $DIRECTORY + TABLE, PDPT + 8
        movl    $PDPT + TABLE, SELF_ENTRY
        movl    $PAGE + IS_LARGE + G, PD_OF_CODE
#endif
        put     DIRECTORY, 0, PT + TABLE
        put     DIRECTORY, 1, LARGE_FRAME + PAGE + IS_LARGE
        put     PT, 0, FRAME(0) + PAGE
        put     PT, 1, FRAME(0) + PAGE
        put     PT, 2, FRAME(2) + PAGE + G
        put     PT, 3, FRAME(3) + W + 1
        put     PT, 4, PT + PAGE
        put     PT, 6, FRAME(6) + PAGE
        put     PT_TOO, 3, FRAME(13) + PAGE
        put     PT_TOO, 5, FRAME(15) + PAGE
        put     PT_OTHER, 0, FRAME(20) + PAGE
        put     PT_OTHER, 6, FRAME(6) + PAGE

        mov     0xf0000 + steps, %ebp
#if FORMAT == 2
        mov     $0x90, %eax             # CR4: large pages, global ones
        mov     %eax, %cr4
        new_root
#else
        rom_long_mode 0xa0, ROOT
#endif
        mov     %cr0, %eax
        or      $0x80010000, %eax       # paging; the kernel heeds read-only pages
        mov     %eax, %cr0
        jmp     2f
2:      movl    $0, FAULTS
        movl    $0, SKIP

        # Two addresses of one page
        step    1
        load    V, 0x1000
        step    2
        load    V + 0x1000, 0x1000
        step    3
        movl    $0xa1, V + 0x1000
        load    V, 0xa1
        step    4
        put     PT, 0, FRAME(7) + PAGE
        invlpg  V
        load    V, 0x1007
        step    5
        load    V + 0x1000, 0xa1

        # Permissions: down, a fault, up
        step    6
        put     PT, 0, FRAME(7) + READABLE
        invlpg  V
        load    V, 0x1007
        step    7
        repair  PT, 0, FRAME(7) + PAGE
        movl    $0xa7, V
        load    V, 0xa7
        faulted 1
        step    8
        put     PT, 0, FRAME(7) + READABLE
        invlpg  V
        load    V, 0xa7
        put     PT, 0, FRAME(7) + PAGE
        movl    $0xb7, V                # nobody has to be told that more is allowed
        load    V, 0xb7
        faulted 1

        # Not there, there, and again not there
        step    9
        repair  PT, 5, FRAME(5) + PAGE
        load    V + 0x5000, 0x1005
        faulted 2
        step    10
        put     PT, 5, 0
        invlpg  V + 0x5000
        repair  PT, 5, FRAME(7) + PAGE
        load    V + 0x5000, 0xb7
        faulted 3

        # Bits that the processor sets
        step    11
        load    V + 0x3000, 0x1003
        bits    PT, 3, A
        step    12
        movl    $0xa3, V + 0x3000
        bits    PT, 3, A + D
        step    13
        put     PT, 3, FRAME(3) + W + 1
        invlpg  V + 0x3000
        movl    $0xb3, V + 0x3000
        bits    PT, 3, A + D
        step    14
        put     PT, 3, FRAME(3) + W + A + 1
        invlpg  V + 0x3000
        load    V + 0x3000, 0xb3
        bits    PT, 3, A
        movl    $0xc3, V + 0x3000
        bits    PT, 3, A + D

        # A global page: a new CR3 leaves it, INVLPG and CR4 do not
        step    15
        load    V + 0x2000, 0x1002
        step    16
        put     PT, 2, FRAME(7) + PAGE + G
        new_root
        mov     V + 0x2000, %eax        # either is right
        step    17
        invlpg  V + 0x2000
        load    V + 0x2000, 0xb7
        step    18
        put     PT, 2, FRAME(2) + PAGE + G
        mov     %cr4, %eax
        xor     $0x80, %eax
        mov     %eax, %cr4
        xor     $0x80, %eax
        mov     %eax, %cr4
        load    V + 0x2000, 0x1002

        # A table that is data as well
        step    19
        load    V + 0x4000, FRAME(7) + PAGE
        step    20
        movl    $FRAME(0) + PAGE, V + 0x4000 + 8 * ENTRY
        load    V + 0x8000, 0xa1
        step    21
        movl    $FRAME(7) + PAGE, V + 0x4000 + 8 * ENTRY
        invlpg  V + 0x8000
        load    V + 0x8000, 0xb7

        # Data that become a table, while the TLB has the page as one that may be written
        step    22
        movl    $FRAME(0) + PAGE, V + 0x6000
        put     DIRECTORY, 3, FRAME(6) + TABLE
        load    FOURTH, 0xa1
        step    23
        movl    $FRAME(7) + PAGE, V + 0x6000
        invlpg  FOURTH
        load    FOURTH, 0xb7
        step    24
        movl    $FRAME(0) + PAGE, V + 0x6000 + ENTRY
        load    FOURTH + 0x1000, 0xa1

        # A table that becomes data
        step    25
        put     DIRECTORY, 3, 0
        new_root
        movl    $1, V + 0x6000
        movl    $2, V + 0x6000 + ENTRY
        movl    $3, V + 0x6000 + 2 * ENTRY
        load    V + 0x6000, 1
        repair  DIRECTORY, 3, LARGE_FRAME_TOO + PAGE + IS_LARGE
        load    FOURTH + 0x3000, 0x3003
        faulted 4

        # Another table in place of one
        step    26
        put     DIRECTORY, 0, PT_OTHER + TABLE
        new_root
        load    V, 0x1014
        step    27
        put     DIRECTORY, 0, PT + TABLE
        new_root
        load    V, 0xb7

        # Large, small, large
        step    28
        load    LARGE + 0x3000, 0x2003
        step    29
        load    LARGE + 0x5000, 0x2005
        step    30
        put     DIRECTORY, 1, PT_TOO + TABLE
        invlpg  LARGE + 0x3000
        load    LARGE + 0x5000, 0x100f
        step    31
        load    LARGE + 0x3000, 0x100d
        step    32
        put     DIRECTORY, 1, LARGE_FRAME_TOO + PAGE + IS_LARGE
        invlpg  LARGE + 0x3000
        invlpg  LARGE + 0x5000
        load    LARGE + 0x5000, 0x3005
        load    LARGE + 0x3000, 0x3003
        step    33
        put     DIRECTORY, 1, LARGE_FRAME + READABLE + IS_LARGE
        new_root
        load    LARGE + 0x3000, 0x2003
        repair  DIRECTORY, 1, LARGE_FRAME + PAGE + IS_LARGE
        movl    $0xa2, LARGE + 0x5000
        load    LARGE + 0x5000, 0xa2
        faulted 5

        # A root that leads to itself
        step    34
        load    SELF_OF_PT, FRAME(7) + PAGE
        step    35
        movl    $FRAME(2) + PAGE, SELF_OF_PT
        invlpg  V
        load    V, 0x1002
        step    36
        movl    $PT_TOO + TABLE, SELF_OF_DIRECTORY + 2 * ENTRY
        load    THIRD + 0x3000, 0x100d
        step    37
        movl    $0, SELF_ENTRY
        invlpg  SELF_OF_PT
        repair  SELF_ENTRY, 0, (SELF_TABLE + TABLE)
        load    SELF_OF_PT, FRAME(2) + PAGE
        faulted 6

        # Two address spaces that share a table
        step    38
        new_root OTHER_ROOT
        load    V, 0x1002
        step    39
        put     PT, 0, FRAME(0) + PAGE
        invlpg  V
        load    V, 0xa1
        step    40
        new_root
        load    V, 0xa1

        # Another size in its place, which allows more, so that INVLPG is not needed
        step    41
        put     PT_TOO, 3, FRAME(13) + READABLE
        put     DIRECTORY, 1, PT_TOO + TABLE
        invlpg  LARGE + 0x3000
        load    LARGE + 0x3000, 0x100d
        step    42
        put     DIRECTORY, 1, LARGE_FRAME + PAGE + IS_LARGE
        movl    $0xa4, LARGE + 0x3000
        load    LARGE + 0x3000, 0xa4
        step    43
        movl    $0xa5, LARGE + 0x3000
        load    LARGE + 0x3000, 0xa5
        step    44
        put     DIRECTORY, 1, LARGE_FRAME + READABLE + IS_LARGE
        invlpg  LARGE + 0x3000
        load    LARGE + 0x3000, 0xa5
        put     PT_TOO, 3, FRAME(13) + PAGE
        put     DIRECTORY, 1, PT_TOO + TABLE
        movl    $0xad, LARGE + 0x3000
        load    LARGE + 0x3000, 0xad

        # A loop of one block, whose stores are in the large page that it is in
        step    45
        mov     $0x100000, %edi
        mov     $30, %ecx
1:      movl    $0, (%edi)
        add     $0x1000, %edi
        cmp     $0x1000, %edi
        loop    1b

        # A fault takes the entry, also if nothing comes of it
        step    46
        put     PT, 0, FRAME(0) + READABLE
        invlpg  V
        load    V, 0xa1
        repair  PT, 7, 0
        movl    $9f - 8f, SKIP
8:      movl    $0xb1, V
9:      movl    $0, SKIP
        load    V, 0xa1
        faulted 7

done:   movl    $GOOD, RESULT
        quit
bad:    mov     %esi, RESULT
        quit

#if FORMAT == 2
fault:  mov     %edx, (%ebx)
        incl    FAULTS
        add     $4, %esp                # error code
        mov     SKIP, %edx
        add     %edx, (%esp)
        iret
#else
        .code64
fault:  mov     %edx, (%ebx)
        incl    FAULTS
        add     $8, %rsp
        mov     SKIP, %edx
        add     %rdx, (%rsp)
        iretq
        .code32
#endif

        rom_segments
idt:
#if FORMAT == 2
        .skip   14 * 8
        .word   fault, 8, 0x8e00, 0xf
#else
        .skip   14 * 16
        .word   fault, 0x18, 0x8e00, 0xf
        .quad   0
#endif
idtr:   .word   idtr - idt - 1
        .long   0xf0000 + idt

        .org    0xff00
steps:  .long   0
        rom_end
