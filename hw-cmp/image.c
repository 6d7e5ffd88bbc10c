/*
 * Kernel, initial RAM disk and firmware of a CMP machine: are they what the
 * machine can start?
 *
 * The loaders of sun4u say at most that a file is not ELF, and take any file
 * for the image of a PROM.  Here a file is looked at before it is loaded, so
 * that the error says what it is and what is wanted.
 *
 * Sources: System V ABI, "Object Files"; SunOS 4 a.out(5); "The Linux/x86 Boot
 * Protocol"; OpenBIOS, arch/sparc64/openbios.c and boot.c.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "elf.h"
#include "image.h"

/*
 * What OpenBIOS does with memory and kernel.  Its data and heap are at the end
 * of memory, 1.5 MiB today; whole pages of 4 MiB are left to it.  It maps
 * memory from KERNEL_OFFSET below the entry point of a kernel, with pages of
 * 8 KiB, and calls the entry point.
 */
#define FIRMWARE_RAM        (4 * MiB)
#define KERNEL_OFFSET       0x4000
#define KERNEL_PAGE         (8 * KiB)
/* Where firmware is linked; the board moves it to its PROM (sun4u.c). */
#define PROM_VADDR          0xffd00000
/* BARG_LEN of arch/sparc/prom/bootstr_64.c, less its end */
#define LINUX_ARGUMENTS     1023
#define LINUX_HEADER_END    (64 * KiB)
#define PROM_SIZE           (4 * MiB)
#define POWER_ON_VECTOR     0x20
/* Where an a.out kernel goes (sun4u.c) */
#define AOUT_ADDR           0x404000

/* a.out header: machine in bits 23:16 of the first word, magic in 15:0 */
#define AOUT_HEADER         32
#define AOUT_SPARC          3

static const char wanted_kernel[] =
    "Wanted is an uncompressed Linux kernel: ELF, 64-bit, SPARC V9 (vmlinux),"
    " or a.out for SPARC (tftpboot.img).\n";
static const char wanted_firmware[] =
    "Wanted is ELF, 64-bit, SPARC V9, linked for 0xffd00000, or the contents "
    "of a PROM.\n";

/* Files that are often taken for another, by what they begin with */
static const struct {
    unsigned int offset, length;
    const char *magic;
    const char *is;
} known_files[] = {
    { 0, 2, "\x1f\x8b", "a gzip file" },
    { 0, 3, "BZh", "a bzip2 file" },
    { 0, 6, "\xfd" "7zXZ", "an xz file" },
    { 0, 4, "\x28\xb5\x2f\xfd", "a zstd file" },
    { 0, 4, "\x02\x21\x4c\x18", "an lz4 file" },
    { 0, 4, "\x04\x22\x4d\x18", "an lz4 file" },
    { 0, 4, "\x89LZO", "an lzop file" },
    { 0, 4, "PK\x03\x04", "a zip file" },
    { 0, 5, "07070", "a cpio archive" },
    { 257, 5, "ustar", "a tar archive" },
    { 0, 8, "!<arch>\n", "an ar archive" },
    { 0, 4, "\x27\x05\x19\x56", "a U-Boot image" },
    { 0, 4, "QFI\xfb", "a qcow2 disk image" },
    { 0x8001, 5, "CD001", "an ISO 9660 image" },
    { 0x202, 4, "HdrS", "a Linux kernel for x86 (bzImage)" },
    { 0, 2, "MZ", "a DOS or EFI program" },
    { 510, 2, "\x55\xaa", "a boot sector or disk for x86" },
};

static const struct {
    uint16_t machine;
    const char *name;
} elf_machines[] = {
    { EM_386, "i386" },
    { EM_X86_64, "x86-64" },
    { EM_SPARC, "32-bit SPARC" },
    { EM_SPARC32PLUS, "32-bit SPARC (V8+)" },
    { EM_SPARCV9, "SPARC V9" },
    { EM_ARM, "Arm" },
    { EM_AARCH64, "AArch64" },
    { EM_PPC, "PowerPC" },
    { EM_PPC64, "64-bit PowerPC" },
    { EM_MIPS, "MIPS" },
    { EM_RISCV, "RISC-V" },
    { EM_S390, "S/390" },
    { EM_LOONGARCH, "LoongArch" },
    { EM_ALPHA, "Alpha" },
    { EM_PARISC, "PA-RISC" },
    { EM_68K, "m68k" },
    { EM_SH, "SuperH" },
};

/* The contents of an ordinary file that is not empty, or an error. */
static GMappedFile *map_file(const char *what, const char *filename,
                             Error **errp)
{
    g_autoptr(GError) fault = NULL;
    GMappedFile *file;
    struct stat status;

    if (stat(filename, &status) < 0) {
        error_setg_errno(errp, errno, "could not open %s '%s'", what,
                         filename);
        return NULL;
    }
    if (!S_ISREG(status.st_mode)) {
        error_setg(errp, "%s '%s' is %s", what, filename,
                   S_ISDIR(status.st_mode) ? "a directory"
                                           : "not an ordinary file");
        return NULL;
    }
    if (status.st_size == 0) {
        error_setg(errp, "%s '%s' is empty", what, filename);
        return NULL;
    }
    file = g_mapped_file_new(filename, false, &fault);
    if (!file) {
        error_setg(errp, "could not open %s '%s': %s", what, filename,
                   fault->message);
    }
    return file;
}

static bool is_text(const char *data, size_t size)
{
    for (size_t i = 0; i < MIN(size, 1024); i++) {
        if ((uint8_t)data[i] < ' ' && !strchr("\t\n\f\r\033", data[i])) {
            return false;
        }
        if (data[i] == '\0' || data[i] == '\177') {
            return false;
        }
    }
    return true;
}

/* What a file is that is neither ELF nor a.out, or NULL. */
static const char *known_file(const char *data, size_t size)
{
    for (size_t i = 0; i < ARRAY_SIZE(known_files); i++) {
        size_t offset = known_files[i].offset;
        size_t length = known_files[i].length;

        if (size >= offset + length &&
            !memcmp(data + offset, known_files[i].magic, length)) {
            return known_files[i].is;
        }
    }
    return is_text(data, size) ? "a text file" : NULL;
}

/* ELF */

static bool is_elf(const char *data, size_t size)
{
    return size >= SELFMAG && !memcmp(data, ELFMAG, SELFMAG);
}

static void elf_read_segment(const char *data, unsigned int i, Elf64_Phdr *ph)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)data;

    memcpy(ph, data + ldq_be_p(&header->e_phoff) + i * sizeof(*ph),
           sizeof(*ph));
    ph->p_type = ldl_be_p(&ph->p_type);
    ph->p_offset = ldq_be_p(&ph->p_offset);
    ph->p_vaddr = ldq_be_p(&ph->p_vaddr);
    ph->p_paddr = ldq_be_p(&ph->p_paddr);
    ph->p_filesz = ldq_be_p(&ph->p_filesz);
    ph->p_memsz = ldq_be_p(&ph->p_memsz);
}

static unsigned int elf_segments(const char *data)
{
    return lduw_be_p(&((const Elf64_Ehdr *)data)->e_phnum);
}

/* Does the file contain @length bytes at @offset? */
static bool contains(size_t size, uint64_t offset, uint64_t length)
{
    return length <= size && offset <= size - length;
}

/* Why this ELF file cannot be SPARC V9 code that QEMU loads, or NULL. */
static char *elf_fault(const char *data, size_t size)
{
    const Elf64_Ehdr *header = (const Elf64_Ehdr *)data;
    unsigned int segments, machine;

    if (size < sizeof(*header)) {
        return g_strdup("an ELF file that is cut short");
    }
    /* In any class the machine has the same place. */
    machine = header->e_ident[EI_DATA] == ELFDATA2MSB
              ? lduw_be_p(&header->e_machine) : lduw_le_p(&header->e_machine);
    if (machine != EM_SPARCV9) {
        for (size_t i = 0; i < ARRAY_SIZE(elf_machines); i++) {
            if (elf_machines[i].machine == machine) {
                return g_strdup_printf("an ELF file for %s",
                                       elf_machines[i].name);
            }
        }
        return g_strdup_printf("an ELF file for machine %u", machine);
    }
    if (header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_ident[EI_DATA] != ELFDATA2MSB) {
        return g_strdup("an ELF file for SPARC V9 that is not 64-bit "
                        "big-endian");
    }
    segments = elf_segments(data);
    if (lduw_be_p(&header->e_type) != ET_EXEC) {
        return g_strdup_printf("an ELF file for SPARC V9 of type %u, not an "
                               "executable (type 2)",
                               lduw_be_p(&header->e_type));
    }
    if (!segments) {
        return g_strdup("an ELF file for SPARC V9 without segments");
    }
    if (lduw_be_p(&header->e_phentsize) != sizeof(Elf64_Phdr)) {
        return g_strdup_printf("an ELF file whose program headers have %u "
                               "bytes, not %zu",
                               lduw_be_p(&header->e_phentsize),
                               sizeof(Elf64_Phdr));
    }
    if (!contains(size, ldq_be_p(&header->e_phoff),
                  segments * sizeof(Elf64_Phdr)) ||
        !contains(size, ldq_be_p(&header->e_shoff),
                  lduw_be_p(&header->e_shnum) * sizeof(Elf64_Shdr))) {
        return g_strdup("an ELF file that is cut short");
    }
    for (unsigned int i = 0; i < segments; i++) {
        Elf64_Phdr ph;

        elf_read_segment(data, i, &ph);
        if (ph.p_type == PT_LOAD &&
            !contains(size, ph.p_offset, ph.p_filesz)) {
            return g_strdup("an ELF file that is cut short");
        }
        if (ph.p_type == PT_LOAD && ph.p_filesz > ph.p_memsz) {
            return g_strdup("an ELF file with a segment that is larger in the "
                            "file than in memory");
        }
    }
    return NULL;
}

/* Where a kernel is entered, as a physical address, or 0. */
static uint64_t elf_entry(const char *data)
{
    uint64_t entry = ldq_be_p(&((const Elf64_Ehdr *)data)->e_entry);

    for (unsigned int i = 0; i < elf_segments(data); i++) {
        Elf64_Phdr ph;

        elf_read_segment(data, i, &ph);
        if (ph.p_type == PT_LOAD && entry >= ph.p_vaddr &&
            entry - ph.p_vaddr < ph.p_filesz) {
            return entry - ph.p_vaddr + ph.p_paddr;
        }
    }
    return 0;
}

/*
 * The first address above all segments; UINT64_MAX if one of them begins
 * below @bottom or does not end.
 */
static uint64_t elf_top(const char *data, uint64_t bottom)
{
    uint64_t top = 0;

    for (unsigned int i = 0; i < elf_segments(data); i++) {
        Elf64_Phdr ph;

        elf_read_segment(data, i, &ph);
        if (ph.p_type == PT_LOAD && ph.p_memsz != 0) {
            if (ph.p_paddr < bottom || ph.p_memsz > UINT64_MAX - ph.p_paddr) {
                return UINT64_MAX;
            }
            top = MAX(top, ph.p_paddr + ph.p_memsz);
        }
    }
    return top;
}

/* The lowest address of all segments */
static uint64_t elf_bottom(const char *data)
{
    uint64_t bottom = UINT64_MAX;

    for (unsigned int i = 0; i < elf_segments(data); i++) {
        Elf64_Phdr ph;

        elf_read_segment(data, i, &ph);
        if (ph.p_type == PT_LOAD && ph.p_memsz != 0) {
            bottom = MIN(bottom, ph.p_paddr);
        }
    }
    return bottom;
}

/* a.out */

static bool is_aout(const char *data, size_t size)
{
    if (size < AOUT_HEADER) {
        return false;
    }
    switch (lduw_be_p(data + 2)) {
    case 0407:                  /* OMAGIC */
    case 0410:                  /* NMAGIC */
    case 0413:                  /* ZMAGIC */
        return (uint8_t)data[1] == AOUT_SPARC;
    default:
        return false;
    }
}

/* Text and data, and what follows them if @bss */
static uint64_t aout_size(const char *data, bool bss)
{
    uint64_t text = ldl_be_p(data + 4);
    uint64_t initialized = ldl_be_p(data + 8);

    return text + initialized + (bss ? ldl_be_p(data + 12) : 0);
}

/* The files of a machine */

/* Why a file is no kernel, or NULL. */
static char *kernel_fault(const char *data, size_t size)
{
    const char *is;
    char *fault;
    uint64_t entry;

    if (is_elf(data, size)) {
        fault = elf_fault(data, size);
        if (fault) {
            return fault;
        }
        entry = elf_entry(data);
        if (entry < KERNEL_OFFSET || entry % KERNEL_PAGE) {
            return g_strdup("an ELF file for SPARC V9, but not a kernel: its "
                            "entry point is not the start of a page");
        }
        return NULL;
    }
    if (is_aout(data, size)) {
        if (!aout_size(data, false)) {
            return g_strdup("an a.out file without text and data");
        }
        return contains(size, AOUT_HEADER, aout_size(data, false)) ? NULL
               : g_strdup("an a.out file that is cut short");
    }
    is = known_file(data, size);
    return g_strdup(is ?: "neither ELF nor a.out");
}

/* Linux for sparc64 has a header, near its entry point (head_64.S). */
static bool is_linux(const char *data, size_t size)
{
    return memmem(data, MIN(size, LINUX_HEADER_END), "HdrS", 4);
}

uint64_t image_check_kernel(const char *filename, uint64_t ram_size,
                            const char *command_line, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(GMappedFile) file = map_file("kernel", filename, errp);
    g_autofree char *fault = NULL;
    const char *data;
    size_t size;
    uint64_t top;

    if (!file) {
        return 0;
    }
    data = g_mapped_file_get_contents(file);
    size = g_mapped_file_get_length(file);
    fault = kernel_fault(data, size);
    if (fault) {
        error_setg(errp, "could not load kernel '%s': it is %s", filename,
                   fault);
        error_append_hint(errp, wanted_kernel);
        return 0;
    }
    if (command_line && strlen(command_line) > LINUX_ARGUMENTS &&
        is_linux(data, size)) {
        error_setg(errp, "-append has %zu characters, and Linux for sparc64 "
                   "would have none of them: allowed are up to %d",
                   strlen(command_line), LINUX_ARGUMENTS);
        return 0;
    }
    top = is_elf(data, size) ? elf_top(data, 0)
                             : AOUT_ADDR + aout_size(data, true);
    if (ram_size < FIRMWARE_RAM || top > ram_size - FIRMWARE_RAM) {
        uint64_t bottom = is_elf(data, size) ? elf_bottom(data) : AOUT_ADDR;

        error_setg(errp, "could not load kernel '%s': it does not fit into %"
                   PRIu64 " MiB of memory: it wants to be at 0x%" PRIx64
                   " to 0x%" PRIx64 ", and the firmware has the last %" PRIu64
                   " MiB", filename, ram_size / MiB, bottom, top - 1,
                   FIRMWARE_RAM / MiB);
        if (is_elf(data, size) && bottom >= PROM_VADDR &&
            top - 1 < PROM_VADDR + PROM_SIZE) {
            error_append_hint(errp, "It is linked for the PROM: -bios starts "
                              "it.\n");
        }
        return 0;
    }
    return top;
}

bool image_check_initrd(const char *filename, uint64_t start,
                        uint64_t ram_size, Error **errp)
{
    g_autoptr(GMappedFile) file = map_file("initial ram disk", filename, errp);
    uint64_t end = ram_size - FIRMWARE_RAM;
    uint64_t room = start < end ? end - start : 0;

    if (!file) {
        return false;
    }
    if (g_mapped_file_get_length(file) > room) {
        error_setg(errp, "initial ram disk '%s' has %zu bytes, but %" PRIu64
                   " MiB of memory have room for %" PRIu64 " above the kernel",
                   filename, g_mapped_file_get_length(file), ram_size / MiB,
                   room);
        return false;
    }
    return true;
}

/* Why a file is no firmware, or NULL. */
static char *firmware_fault(const char *data, size_t size)
{
    const char *is;
    char *fault;

    if (is_elf(data, size)) {
        fault = elf_fault(data, size);
        if (!fault && elf_top(data, PROM_VADDR) - PROM_VADDR > PROM_SIZE) {
            fault = g_strdup("an ELF file for SPARC V9, but not linked for the"
                             " PROM");
        }
        return fault;
    }
    is = known_file(data, size);
    if (is) {
        return g_strdup(is);
    }
    if (size <= POWER_ON_VECTOR) {
        return g_strdup_printf("%zu bytes, which end before the power-on "
                               "vector", size);
    }
    if (size > PROM_SIZE) {
        return g_strdup_printf("%zu bytes, more than the %" PRIu64 " MiB of "
                               "the PROM", size, PROM_SIZE / MiB);
    }
    return NULL;
}

bool image_check_firmware(const char *filename, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(GMappedFile) file = map_file("firmware", filename, errp);
    g_autofree char *fault = NULL;

    if (!file) {
        return false;
    }
    fault = firmware_fault(g_mapped_file_get_contents(file),
                           g_mapped_file_get_length(file));
    if (fault) {
        error_setg(errp, "could not load firmware '%s': it is %s", filename,
                   fault);
        error_append_hint(errp, wanted_firmware);
        return false;
    }
    return true;
}
