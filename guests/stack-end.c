/*
 * Linked into every static program of the SPARC guests, with
 * -Wl,--wrap=__libc_start_main.
 *
 * __libc_start_main's seventh argument is the end of the stack.  The start
 * code of glibc for sparc64 does not pass it (sysdeps/sparc/sparc64/start.S of
 * 2.36), and in its place on the stack is argc.  A static program then takes
 * its stack for argc bytes large, and with four or more arguments execvp()
 * finds no room there for a path: ENAMETOOLONG.  Programs that are linked
 * dynamically have the end of the stack from ld.so.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

typedef void function(void);
typedef int main_function(int argc, char **argv, char **envp);

int __real___libc_start_main(main_function *main, int argc, char **argv,
                             function *init, function *fini,
                             function *rtld_fini, void *stack_end);

int __wrap___libc_start_main(main_function *main, int argc, char **argv,
                             function *init, function *fini,
                             function *rtld_fini, void *stack_end)
{
    return __real___libc_start_main(main, argc, argv, init, fini, rtld_fini,
                                    argv - 1);
}
