/*
 * Kernel, initial RAM disk and firmware of a CMP machine: are they what the
 * machine can start?
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_CMP_IMAGE_H
#define HW_CMP_IMAGE_H

/*
 * Check the file of -kernel for a memory of @ram_size bytes, and whether it
 * takes a @command_line (NULL: none) of that length.  Returns the first address
 * above the kernel, or 0 with an error.
 */
uint64_t image_check_kernel(const char *filename, uint64_t ram_size,
                            const char *command_line, Error **errp);

/* Check the file of -initrd, which will be loaded at @start. */
bool image_check_initrd(const char *filename, uint64_t start,
                        uint64_t ram_size, Error **errp);

bool image_check_firmware(const char *filename, Error **errp);

#endif
