module slipring/compare

go 1.18
