// The other reference of bench-deliver: a sender on net/http, as a program in Go has it: a worker
// for each connection, bodies read and closed so that connections are kept.
//
//	deliver_go PORT REQUESTS CONNECTIONS
//
// It warms up, then prints how many were answered 200, the seconds and the processor time that took.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func number(i int) int {
	n, err := strconv.Atoi(os.Args[i])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return n
}

func processor() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func send(client *http.Client, url string) bool {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return false
	}
	request.Header.Set("User-Agent", "millrace")
	request.Header.Set("Idempotency-Key", "0123456789abcdef0123456789abcdef")
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return answer.StatusCode == 200
}

func run(client *http.Client, port, requests, workers int) int64 {
	var next, good int64
	var all sync.WaitGroup
	for w := 0; w < workers; w++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for {
				i := atomic.AddInt64(&next, 1) - 1
				if i >= int64(requests) {
					return
				}
				url := fmt.Sprintf("http://127.0.0.1:%d/hook?title=Gopher&n=%d", port, i)
				if send(client, url) {
					atomic.AddInt64(&good, 1)
				}
			}
		}()
	}
	all.Wait()
	return good
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: deliver_go PORT REQUESTS CONNECTIONS")
		os.Exit(2)
	}
	port, requests, workers := number(1), number(2), number(3)
	client := &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConns: workers, MaxIdleConnsPerHost: workers, DisableCompression: true},
	}
	run(client, port, 2000, workers)
	begun, used := time.Now(), processor()
	good := run(client, port, requests, workers)
	fmt.Printf("%d %.6f %.6f\n", good, time.Since(begun).Seconds(), (processor() - used).Seconds())
}
