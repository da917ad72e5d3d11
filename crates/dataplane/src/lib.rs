//! The fast path: TUN, UDP and raw ESP sockets, worker threads, SA table and FIB.
