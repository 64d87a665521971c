/* A disk for SQLite that fails: put over the ordinary one as the default VFS of a process. Counts
 * writes and syncs; at the n-th it cuts the power (what was not synced since is gone, and the
 * process ends with 137) or gives an I/O error from then on. */
#ifndef VR_TEST_FAULTY_DISK_H
#define VR_TEST_FAULTY_DISK_H

enum fault { FAULT_POWER_CUT, FAULT_IO_ERROR };

void faulty_disk_install(enum fault fault, int at); /* at: counted from 1 */
void faulty_disk_heal(void);                        /* no faults from now on */
int faulty_disk_count(void);                        /* writes and syncs so far */

#endif
