// A forwarder that stores nothing, as those for OVHcloud SMS do, and a mock of OVHcloud for it.
//
//	forwarder mock PORT DELAY_MS
//	forwarder serve PORT URL_OF_THE_MOCK
package main

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type webhook struct {
	Status string `json:"status"`
	Alerts []struct {
		Labels map[string]string `json:"labels"`
	} `json:"alerts"`
}

func mock(delay time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(delay)
		if strings.HasSuffix(r.URL.Path, "/auth/time") {
			fmt.Fprintf(w, "%d", time.Now().Unix())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"ids":[1],"validReceivers":["+33639980001"],"invalidReceivers":[],"totalCreditsRemoved":1}`)
	})
}

func forward(client *http.Client, url string, hook webhook) error {
	answer, err := client.Get(url + "/auth/time")
	if err != nil {
		return err
	}
	stamp, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil {
		return err
	}
	text := hook.Status
	for _, alert := range hook.Alerts {
		text += " " + alert.Labels["alertname"] + " " + alert.Labels["instance"]
	}
	body, _ := json.Marshal(map[string]any{"message": text, "receivers": []string{"+33639980001"}, "sender": "ACME"})
	target := url + "/sms/sms-emu12345-1/jobs"
	sum := sha1.Sum([]byte("secret+consumer+POST+" + target + "+" + string(body) + "+" + string(stamp)))
	request, _ := http.NewRequest("POST", target, bytes.NewReader(body))
	request.Header.Set("X-Ovh-Signature", "$1$"+hex.EncodeToString(sum[:]))
	request.Header.Set("X-Ovh-Timestamp", string(stamp))
	sent, err := client.Do(request)
	if err != nil {
		return err
	}
	defer sent.Body.Close()
	io.Copy(io.Discard, sent.Body)
	if sent.StatusCode != 200 {
		return fmt.Errorf("answered %d", sent.StatusCode)
	}
	return nil
}

func main() {
	var handler http.Handler
	if os.Args[1] == "mock" {
		delay, _ := strconv.Atoi(os.Args[3])
		handler = mock(time.Duration(delay) * time.Millisecond)
	} else {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 512}}
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var hook webhook
			if err := json.NewDecoder(r.Body).Decode(&hook); err != nil {
				http.Error(w, err.Error(), 400)
				return
			}
			if err := forward(client, os.Args[3], hook); err != nil {
				http.Error(w, err.Error(), 502)
			}
		})
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], handler))
}
