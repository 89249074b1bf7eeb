package main

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// A size-class pool from 2 to 64 KiB: a sync.Pool for each class, and statistics by atomic counters
// that all goroutines share.

const (
	smallestShift = 11
	classes       = 6
	largestBytes  = 1 << (smallestShift + classes - 1)
)

type counters struct {
	gets, hits, misses, puts, discards uint64
}

type class struct {
	pool sync.Pool
	counters
}

type classPool struct {
	classes [classes]class
	all     counters
}

// classOf is the smallest class that holds this many bytes.
func classOf(size int) int {
	return bits.Len(uint(size-1) >> smallestShift)
}

// get adds to four counters: the gets and the hits of the class, and those of all classes.
func (p *classPool) get(size int) []byte {
	if size > largestBytes {
		return make([]byte, size)
	}
	number := classOf(size)
	c := &p.classes[number]
	atomic.AddUint64(&c.gets, 1)
	atomic.AddUint64(&p.all.gets, 1)
	if found := c.pool.Get(); found != nil {
		atomic.AddUint64(&c.hits, 1)
		atomic.AddUint64(&p.all.hits, 1)
		return found.([]byte)[:size]
	}
	atomic.AddUint64(&c.misses, 1)
	atomic.AddUint64(&p.all.misses, 1)
	return make([]byte, 1<<(smallestShift+number))[:size]
}

// put adds to one counter. The conversion to an interface boxes the slice's header.
func (p *classPool) put(buffer []byte) {
	if cap(buffer) > largestBytes || cap(buffer) < 1<<smallestShift {
		atomic.AddUint64(&p.all.discards, 1)
		return
	}
	number := classOf(cap(buffer))
	if cap(buffer) != 1<<(smallestShift+number) {
		atomic.AddUint64(&p.all.discards, 1)
		return
	}
	c := &p.classes[number]
	atomic.AddUint64(&c.puts, 1)
	c.pool.Put(buffer[:cap(buffer)])
}
