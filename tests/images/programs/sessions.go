// A web service whose sessions are in memory alone: tells its process, and how often the session has come.
// Beside it are threads that nothing but their own loop may use; /threads tells the number of each, and how far it is.
package main

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type counter struct{ thread, count atomic.Int64 }

func (c *counter) run() {
	runtime.LockOSThread()
	c.thread.Store(int64(syscall.Gettid()))
	for range time.Tick(time.Millisecond) {
		c.count.Add(1)
	}
}

func main() {
	started := rand.Text()
	counters := make([]counter, 4)
	for i := range counters {
		go counters[i].run()
	}
	// A thousand that only wait, as the handlers of idle connections do.
	for range 1000 {
		go func() { select {} }()
	}
	var mutex sync.Mutex
	visits := map[string]int{}
	http.HandleFunc("/threads", func(answer http.ResponseWriter, _ *http.Request) {
		for i := range counters {
			fmt.Fprintln(answer, counters[i].thread.Load(), counters[i].count.Load())
		}
	})
	http.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		session, err := request.Cookie("session")
		if err != nil {
			session = &http.Cookie{Name: "session", Value: rand.Text()}
		}
		mutex.Lock()
		defer mutex.Unlock()
		visits[session.Value]++
		http.SetCookie(answer, session)
		fmt.Fprint(answer, started, " ", visits[session.Value])
	})
	panic(http.ListenAndServe(":8080", nil))
}
