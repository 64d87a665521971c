/* How many files and sockets the process may have open. */
#ifndef VR_BASE_DESCRIPTOR_H
#define VR_BASE_DESCRIPTOR_H

/* Makes room for so many, as far as the system allows: the 1024 that most shells give are too few
 * for a thousand hosts or for the watches of a busy emulator. */
void vr_descriptor_room(unsigned long count);

#endif
