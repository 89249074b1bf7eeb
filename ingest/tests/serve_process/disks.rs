//! Real disks that are full, fail or lie: what was on the disk stays, and the service says what it
//! does. strace causes errors, where it is installed and may trace.
