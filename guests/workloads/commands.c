/*
 * Commands that start another command, found in PATH: what a shell script
 * takes for granted.  Each is a C program with several arguments that calls
 * execvp(), this one too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "workload.h"

#define AGAIN "COMMANDS_AGAIN"

/* The exit status proves that the last command of the line ran. */
static const struct {
    int status;
    const char *arguments[8];
} commands[] = {
    { 3, { "sh", "-c", "exit $#", "name", "1", "2", "3" } },
    { 4, { "env", "VALUE=4", "sh", "-c", "exit $VALUE" } },
    { 5, { "chroot", "/", "sh", "-c", "exit 5" } },
    { 6, { "taskset", "-c", "0", "sh", "-c", "exit 6" } },
    { 7, { "timeout", "100", "sh", "-c", "exit 7" } },
    { 8, { "setsid", "env", "sh", "-c", "exit 8" } },
};

int main(void)
{
    int right = 0, all = sizeof(commands) / sizeof(commands[0]);

    workload_name = "commands";
    if (!getenv(AGAIN)) {
        setenv(AGAIN, "1", 1);
        execl("/proc/self/exe", "commands", "with", "as", "many", "arguments",
              "as", "the", "others", NULL);
        die(1, "execl: %s", strerror(errno));
    }
    for (int i = 0; i < all; i++) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
            execvp(commands[i].arguments[0],
                   (char *const *)commands[i].arguments);
            printf("commands: %s: %s\n", commands[i].arguments[0],
                   strerror(errno));
            fflush(stdout);
            _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            die(1, "fork or wait: %s", strerror(errno));
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == commands[i].status) {
            right++;
        } else {
            printf("commands: %s: status %#x\n", commands[i].arguments[0],
                   status);
        }
    }
    printf("commands: started=%d of %d %s\n", right, all,
           right == all ? "ok" : "FAILED");
    return right != all;
}
