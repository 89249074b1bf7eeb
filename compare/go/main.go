// Two designs as Go programs build them: a size-class pool over sync.Pool and a receive queue under
// a mutex, with the standard library only. It runs the cases of slipring-compare's `class` and
// `queue` under the same names, with the same operations, and prints lines of the same form.
// scripts/go-compare runs it beside ours.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"sync"
	"time"
)

const (
	warmOps  = 20_000
	messages = 256
)

type result struct {
	Bench     string  `json:"bench"`
	Case      string  `json:"case"`
	Contender string  `json:"contender"`
	Ns        float64 `json:"ns_per_op"`
	Min       float64 `json:"ns_min"`
	Q1        float64 `json:"ns_q1"`
	Q3        float64 `json:"ns_q3"`
	Max       float64 `json:"ns_max"`
	Repeats   int     `json:"repeats"`
}

type benchCase struct {
	bench, name, contender string
	run                    func(ops int) (time.Duration, error)
}

var cases = []benchCase{
	{"class", "get-drop-4KiB-1t", "go-sync-pool", func(ops int) (time.Duration, error) { return getDrop(1, ops) }},
	{"class", "get-drop-4KiB-2t", "go-sync-pool", func(ops int) (time.Duration, error) { return getDrop(2, ops) }},
	{"queue", "queue-512B", "go-mutex-queue", func(ops int) (time.Duration, error) { return queue(512, ops) }},
	{"queue", "queue-32KiB", "go-mutex-queue", func(ops int) (time.Duration, error) { return queue(32<<10, ops) }},
}

// turn gets, writes 8 bytes, and puts, ops times. Each number is read back before the put.
func turn(pool *classPool, first, ops int) error {
	for op := first; op < first+ops; op++ {
		buffer := pool.get(4 << 10)
		binary.LittleEndian.PutUint64(buffer, uint64(op))
		if binary.LittleEndian.Uint64(buffer) != uint64(op) {
			return fmt.Errorf("a buffer doesn't hold what operation %d wrote", op)
		}
		pool.put(buffer)
	}
	return nil
}

// getDrop is the wall time of all goroutines together.
func getDrop(goroutines, ops int) (time.Duration, error) {
	pool := new(classPool)
	errors := make([]error, goroutines)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	for number := 0; number < goroutines; number++ {
		ready.Add(1)
		done.Add(1)
		go func(number int) {
			defer done.Done()
			first := number << 40
			errors[number] = turn(pool, first, warmOps)
			ready.Done()
			<-begin
			if errors[number] == nil {
				errors[number] = turn(pool, first+warmOps, ops/goroutines)
			}
		}(number)
	}
	ready.Wait()
	start := time.Now()
	close(begin)
	done.Wait()
	elapsed := time.Since(start)
	for _, err := range errors {
		if err != nil {
			return 0, err
		}
	}
	return elapsed, nil
}

// queue lets messages arrive in a packet buffer, enqueues them, and checks the number at head and
// tail of each on another goroutine.
func queue(messageBytes, ops int) (time.Duration, error) {
	ring := newMutexQueue(new(sharedPool), messages, messages*messageBytes)
	warm, finished := make(chan struct{}), make(chan error, 1)
	go func() {
		for number := uint64(0); ; number++ {
			message, ok := ring.dequeue()
			if !ok {
				finished <- nil
				return
			}
			head := binary.LittleEndian.Uint64(message)
			tail := binary.LittleEndian.Uint64(message[len(message)-8:])
			ring.done()
			if head != number || tail != number {
				ring.close()
				finished <- fmt.Errorf("message %d isn't what was enqueued", number)
				return
			}
			if number+1 == warmOps {
				close(warm)
			}
		}
	}()
	packet := make([]byte, messageBytes)
	send := func(first, count int) {
		for number := first; number < first+count; number++ {
			binary.LittleEndian.PutUint64(packet, uint64(number))
			binary.LittleEndian.PutUint64(packet[messageBytes-8:], uint64(number))
			if !ring.enqueue(packet) {
				return
			}
		}
	}
	send(0, warmOps)
	select {
	case <-warm:
	case err := <-finished:
		return 0, err
	}
	start := time.Now()
	send(warmOps, ops)
	ring.close()
	err := <-finished
	return time.Since(start), err
}

// quartile 0 is the fastest repeat, 4 the slowest; between two repeats by their distance.
func quartile(sorted []float64, number int) float64 {
	last := len(sorted) - 1
	at, part := last*number/4, float64(last*number%4)/4
	low, high := sorted[at], sorted[at]
	if at < last {
		high = sorted[at+1]
	}
	return low + (high-low)*part
}

func main() {
	repeats := flag.Int("repeats", 7, "repeats of each case")
	ops := flag.Int("ops", 1_000_000, "operations of a repeat; a sixteenth where 32 KiB are copied")
	flag.Parse()
	if *repeats < 1 || *ops < 16 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "error: --repeats is at least 1, --ops at least 16, and no arguments follow the flags")
		os.Exit(2)
	}
	out := json.NewEncoder(os.Stdout)
	machine := map[string]any{"go": runtime.Version(), "cpus": runtime.NumCPU(), "processors": runtime.GOMAXPROCS(0)}
	if out.Encode(map[string]any{"bench": "go", "machine": machine}) != nil {
		os.Exit(1)
	}
	figures := make([][]float64, len(cases))
	for repeat := 0; repeat < *repeats; repeat++ {
		for number, one := range cases {
			caseOps := *ops
			if one.name == "queue-32KiB" {
				caseOps /= 16
			}
			elapsed, err := one.run(caseOps)
			if err != nil {
				fmt.Fprintf(os.Stderr, "error: %s: %v\n", one.name, err)
				os.Exit(1)
			}
			figures[number] = append(figures[number], float64(elapsed.Nanoseconds())/float64(caseOps))
		}
	}
	for number, one := range cases {
		sorted := figures[number]
		sort.Float64s(sorted)
		of := func(number int) float64 { return quartile(sorted, number) }
		line := result{one.bench, one.name, one.contender, of(2), of(0), of(1), of(3), of(4), *repeats}
		if out.Encode(line) != nil {
			os.Exit(1)
		}
	}
}
