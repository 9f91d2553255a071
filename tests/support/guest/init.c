/* The first process of a guest: loads /modules in the order of their names, mounts the host's root read-only and the
 * folder shared with it, runs /dev/shared/start, and ends the machine. */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENT "trans=virtio,version=9p2000.L,msize=512000,cache="

static void end(const char *what)
{
    perror(what);
    reboot(RB_AUTOBOOT);
}

static void load_modules(void)
{
    struct dirent **names;
    int count = scandir("/modules", &names, NULL, alphasort);
    for (int number = 0; number < count; number++) {
        char path[512];
        if (names[number]->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/modules/%s", names[number]->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || syscall(SYS_finit_module, file, "", 0) != 0)
            end(path);
        close(file);
    }
}

static void put(const char *source, const char *place, const char *type, unsigned long flags, const char *options)
{
    mkdir(place, 0755);
    if (mount(source, place, type, flags, options) != 0)
        end(place);
}

int main(void)
{
    load_modules();
    put("root", "/root", "9p", MS_RDONLY, CLIENT "loose");
    if (chdir("/root") != 0 || chroot(".") != 0)
        end("chroot");
    put("proc", "/proc", "proc", 0, NULL);
    put("sysfs", "/sys", "sysfs", 0, NULL);
    put("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    put("tmpfs", "/dev/shm", "tmpfs", 0, NULL);
    put("shared", "/dev/shared", "9p", 0, CLIENT "none");
    if (fork() == 0) {
        setsid();
        execl("/bin/sh", "sh", "/dev/shared/start", NULL);
        end("/bin/sh");
    }
    while (wait(NULL) > 0)
        ;
    sync();
    reboot(RB_AUTOBOOT);
    return 1;
}
