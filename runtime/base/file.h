/* Writing files so that nobody sees half of one. All of these set errno. */
#ifndef VR_BASE_FILE_H
#define VR_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

bool vr_file_write_all(int fd, const void *data, size_t length);
/* A file or a name in a folder is durable when the folder is. path: of the file. */
bool vr_file_sync_folder(const char *path);
/* The whole file at once: readers see the old content or the new one, and a full disk leaves the
 * old. mode: whatever the umask; -1: an existing file's stays, else 0600. sync: returns when it is
 * safe on the disk. */
bool vr_file_replace(const char *path, const void *data, size_t length, int mode, bool sync);

#endif
