package main

import "sync"

// The receive ring of the seed's design S3, written anew: a ring under a mutex with two condition variables, over a pool that all streams of a connection share. The
// message is copied in under the lock.

type sharedPool struct {
	pool sync.Pool
}

// get gives a buffer of at least so many bytes. What the pool holds is a pointer, so that nothing is boxed.
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

type s3 struct {
	lock              sync.Mutex
	notFull, notEmpty *sync.Cond
	pool              *sharedPool
	slots             []*[]byte
	head, tail        int
	bytes, bytesMax   int
	closed            bool
	held              *[]byte
}

func newS3(pool *sharedPool, messages, bytesMax int) *s3 {
	ring := &s3{pool: pool, slots: make([]*[]byte, messages), bytesMax: bytesMax}
	ring.notFull, ring.notEmpty = sync.NewCond(&ring.lock), sync.NewCond(&ring.lock)
	return ring
}

// hasRoom lets a message above the bytes in when nothing is queued.
func (r *s3) hasRoom(size int) bool {
	queued := r.head - r.tail
	return queued < len(r.slots) && (queued == 0 || r.bytes+size <= r.bytesMax)
}

// enqueue copies a message in; false when the ring was closed.
func (r *s3) enqueue(message []byte) bool {
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

// dequeue hands the oldest message out as a plain slice and advances at once; false at the end.
func (r *s3) dequeue() ([]byte, bool) {
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

// done gives the buffer of the last dequeue back.
func (r *s3) done() {
	r.pool.put(r.held)
	r.held = nil
}

// close wakes everybody and waits for nothing.
func (r *s3) close() {
	r.lock.Lock()
	r.closed = true
	r.lock.Unlock()
	r.notEmpty.Broadcast()
	r.notFull.Broadcast()
}
