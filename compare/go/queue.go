package main

import "sync"

// A receive queue: a ring under a mutex with two condition variables, over a pool that all queues
// of a connection share. The message is copied in under the lock.

type sharedPool struct {
	pool sync.Pool
}

// get returns a buffer of at least this many bytes. The pool holds pointers, so that nothing is
// boxed.
func (p *sharedPool) get(size int) *[]byte {
	if found, ok := p.pool.Get().(*[]byte); ok && cap(*found) >= size {
		*found = (*found)[:size]
		return found
	}
	buffer := make([]byte, size)
	return &buffer
}

func (p *sharedPool) put(buffer *[]byte) {
	p.pool.Put(buffer)
}

type mutexQueue struct {
	lock              sync.Mutex
	notFull, notEmpty *sync.Cond
	pool              *sharedPool
	slots             []*[]byte
	head, tail        int
	bytes, bytesMax   int
	closed            bool
	held              *[]byte
}

func newMutexQueue(pool *sharedPool, messages, bytesMax int) *mutexQueue {
	ring := &mutexQueue{pool: pool, slots: make([]*[]byte, messages), bytesMax: bytesMax}
	ring.notFull, ring.notEmpty = sync.NewCond(&ring.lock), sync.NewCond(&ring.lock)
	return ring
}

// hasRoom is true for a message larger than the byte limit when nothing is queued.
func (r *mutexQueue) hasRoom(size int) bool {
	queued := r.head - r.tail
	return queued < len(r.slots) && (queued == 0 || r.bytes+size <= r.bytesMax)
}

// enqueue copies a message in; false if the queue was closed.
func (r *mutexQueue) enqueue(message []byte) bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	for !r.hasRoom(len(message)) && !r.closed {
		r.notFull.Wait()
	}
	if r.closed {
		return false
	}
	buffer := r.pool.get(len(message))
	copy(*buffer, message)
	r.slots[r.head%len(r.slots)] = buffer
	r.head++
	r.bytes += len(message)
	r.notEmpty.Signal()
	return true
}

// dequeue hands the oldest message out as a plain slice and advances; false once the queue is
// closed and empty.
func (r *mutexQueue) dequeue() ([]byte, bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for r.head == r.tail && !r.closed {
		r.notEmpty.Wait()
	}
	if r.head == r.tail {
		return nil, false
	}
	at := r.tail % len(r.slots)
	r.held, r.slots[at] = r.slots[at], nil
	r.tail++
	r.bytes -= len(*r.held)
	r.notFull.Signal()
	return *r.held, true
}

// done puts the buffer of the last dequeue back.
func (r *mutexQueue) done() {
	r.pool.put(r.held)
	r.held = nil
}

// close wakes all waiters and waits for nothing.
func (r *mutexQueue) close() {
	r.lock.Lock()
	r.closed = true
	r.lock.Unlock()
	r.notEmpty.Broadcast()
	r.notFull.Broadcast()
}
