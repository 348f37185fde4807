// The other references of bench-deliver: senders on net/http. Bodies are read and closed.
//
//	deliver_go PORT REQUESTS CONNECTIONS workers    a worker for each connection, all connections kept
//	deliver_go PORT REQUESTS CONNECTIONS each       a goroutine for each request, so many at a time, by net/http's defaults:
//	                                                two idle connections are kept for a host, the rest are closed
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

func address(port, i int) string {
	return fmt.Sprintf("http://127.0.0.1:%d/hook?title=Gopher&n=%d", port, i)
}

func runWorkers(client *http.Client, port, requests, workers int) int64 {
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
				if send(client, address(port, int(i))) {
					atomic.AddInt64(&good, 1)
				}
			}
		}()
	}
	all.Wait()
	return good
}

func runEach(client *http.Client, port, requests, most int) int64 {
	var good int64
	var all sync.WaitGroup
	places := make(chan struct{}, most)
	for i := 0; i < requests; i++ {
		places <- struct{}{}
		all.Add(1)
		go func(i int) {
			defer all.Done()
			if send(client, address(port, i)) {
				atomic.AddInt64(&good, 1)
			}
			<-places
		}(i)
	}
	all.Wait()
	return good
}

func main() {
	if len(os.Args) != 5 || (os.Args[4] != "workers" && os.Args[4] != "each") {
		fmt.Fprintln(os.Stderr, "usage: deliver_go PORT REQUESTS CONNECTIONS workers|each")
		os.Exit(2)
	}
	port, requests, connections := number(1), number(2), number(3)
	run, client := runEach, &http.Client{Timeout: 30 * time.Second}
	if os.Args[4] == "workers" {
		run = runWorkers
		client.Transport = &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections, DisableCompression: true}
	}
	run(client, port, 2000, connections)
	begun, used := time.Now(), processor()
	good := run(client, port, requests, connections)
	fmt.Printf("%d %.6f %.6f\n", good, time.Since(begun).Seconds(), (processor() - used).Seconds())
}
